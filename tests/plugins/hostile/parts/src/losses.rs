//! Losses that break in a step.

use crate::loss;
use stillhouse_plugin::prelude::*;

loss!(PanicsInRun, "panics_in_run", "Panics in a step, not in the trace", |_cx, x| {
    let student = x.one("student")?;
    assert!(student.is_symbolic()?, "boom in run");
    Ok(student.mean_all())
});

loss!(PanicsInTrace, "panics_in_trace", "Panics whenever it runs, in the trace too", |_cx, _x| panic!("boom in trace"));

loss!(PanicsInWorker, "panics_in_worker", "Panics in a piece of `parallel_for`", |cx, x| {
    cx.parallel_for(64, 1, |start, end| assert!(!(start..end).contains(&37), "boom in worker"))?;
    Ok(x.one("student")?.mean_all())
});

/// A payload whose destructor panics, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom in the payload");
    }
}

loss!(PanicsWithBomb, "panics_with_bomb", "Panics with a value whose destructor panics", |_cx, _x| {
    std::panic::panic_any(Bomb)
});

loss!(NotAScalar, "not_a_scalar", "Gives one value a sample", |_cx, x| Ok(x.one("student")?.mean(&[1])));

loss!(NotFinite, "not_finite", "Gives the logarithm of 0", |_cx, x| {
    Ok((x.one("student")?.mean_all() * 0.0).log()) // []
});

loss!(WrongDtype, "wrong_dtype", "Gives a whole number", |_cx, x| Ok(x.one("student")?.mean_all().cast(DType::I64)));

loss!(FailsInRun, "fails_in_run", "Gives an error in a step, not in the trace", |_cx, x| {
    let student = x.one("student")?;
    ensure!(student.is_symbolic()?, "refuses this batch");
    Ok(student.mean_all())
});

loss!(BadShapes, "bad_shapes", "Adds shapes that do not fit and looks at nothing in between", |cx, x| {
    let wrong = cx.full(1.0, &[3, 5, 7], DType::F32); // [3, 5, 7]
    Ok(((x.one("student")? + &wrong).square() + &wrong).mean_all())
});

loss!(ReadsUndeclared, "reads_undeclared", "Reads values without being declared dynamic", |cx, x| {
    let student = x.one("student")?;
    let sum: f64 = student.to_vec()?.iter().sum();
    Ok(cx.full(sum, &[], DType::F32) + student.mean_all())
});

loss!(Detached, "detached", "Has no gradient at all", |_cx, x| Ok(x.one("student")?.detach().mean_all()));

loss!(UnknownState, "unknown_state", "Asks for a parameter that it never made", |cx, x| {
    Ok(x.one("student")?.mean_all() * &cx.param("nobody"))
});

loss!(UnboundPort, "unbound_port", "Reads a port that it has not declared", |_cx, x| Ok(x.one("secret")?.mean_all()));

loss!(Twin, "twin", "A loss that `hostile-twin` offers, too", |_cx, x| Ok(x.one("student")?.mean_all()));

loss!(Good, "good", "The mean of the student's values, and nothing wrong with it", |_cx, x| {
    Ok(x.one("student")?.mean_all())
});
