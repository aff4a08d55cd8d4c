//! Losses whose gradients go where they must not, or not where they must.

use crate::{NoConfig, loss, pair};
use stillhouse_plugin::prelude::*;

loss!(ForTheTeacher, "for_the_teacher", "Holds the student and pulls the teacher", |_cx, x| {
    let (student, teacher) = undetached("for_the_teacher", x)?;
    Ok((student.detach() - teacher).square().mean_all())
});

loss!(WithTheTeacher, "with_the_teacher", "Pulls the student, and the teacher as well", |_cx, x| {
    let (student, teacher) = undetached("with_the_teacher", x)?;
    Ok((student - teacher).square().mean_all())
});

/// As `pair`, without the `detach` of `x.pair`.
fn undetached(name: &str, x: &Inputs) -> Result<(Tensor, Tensor)> {
    pair(name, x)?;
    Ok((x.one("student")?, x.one("teacher")?))
}

/// A distance that forgets some of what it reads.
macro_rules! forgets {
    ($type:ident, $name:literal, $doc:literal, $ports:expr, |$x:ident| $body:expr) => {
        #[doc = $doc]
        pub(crate) struct $type;

        impl Component for $type {
            type Config = NoConfig;
            const NAME: &'static str = $name;
            const DOC: &'static str = $doc;
            fn new(_: NoConfig) -> Result<Self> {
                Ok($type)
            }
            fn ports() -> Vec<Port> {
                $ports.to_vec()
            }
        }

        impl Loss for $type {
            fn forward(&self, _: &Cx, $x: &Inputs) -> Result<Tensor> {
                $body
            }
        }

        register!(loss $type);
    };
}

forgets!(
    ForgetsPort,
    "forgets_port",
    "Holds the second of two ports of the student",
    [Port::student().or("logits"), Port::student().named("other").or("logits"), Port::teacher().or("logits")],
    |x| {
        let (student, teacher) = pair("forgets_port", x)?;
        let other = x.one("other")?;
        same_shape("forgets_port", &student, &other)?;
        Ok((student + other.detach() - teacher).square().mean_all())
    }
);

forgets!(
    ForgetsTap,
    "forgets_tap",
    "Reads any number of taps, and only the first of them",
    [Port::student().many(), Port::teacher().many()],
    |x| {
        let (student, teacher) = (x.list("student")?, x.list("teacher")?);
        same_shape("forgets_tap", &student[0], &teacher[0])?;
        let dims = student[0].dims()?;
        ensure!(dims.len() > 1 && !dims.contains(&0), "`forgets_tap` wants [N, ...], got {dims:?}");
        Ok((&student[0] - teacher[0].detach()).square().mean_all())
    }
);
