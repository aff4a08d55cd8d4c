//! Recurrent families in manifests, and a module in a cell's slot beside the cell itself.
#![allow(missing_docs)]

mod support;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;
use stillhouse::exec::{Executor, ModuleSlot, Network, PassSpec};
use stillhouse::graph::Source;
use stillhouse::model::{Frame, build_table};
use stillhouse::ops::native::{self, Record};
use stillhouse::ops::{BoundPart, Moment, ParamSet, host_api};
use stillhouse_plugin::desc::Kind;
use support::lab::{Lab, plugin};
use support::{clips, discover};

fn manifest(arch: &str, terms: &str, more: &str) -> String {
    format!(
        "[data]\nuse = \"clips:clips.npz\"\n\n[models.student]\nover_time = true\narch = {arch}\n{more}\n\
         [stage.learn]\ntrain = \"student\"\nepochs = 8\nbatch = 32\noptimizer = {{ kind = \"adam\", lr = 0.02 }}\n{terms}\n"
    )
}

fn falls(values: &[f64]) -> bool {
    values.len() > 1 && values.last() < values.first() && values.iter().all(|value| value.is_finite())
}

#[test]
fn cells_learn_what_needs_memory() {
    let lab = Lab::new();
    clips::write(&lab.path().join("clips.npz"), &[2]);
    let terms = "terms.task = { use = \"cross_entropy\" }\n\
                 terms.even = { use = \"every_frame\", student = \"student:cells.0.STATE\", target = 0.1, weight = 0.05 }";
    for (cell, state, gates) in [("lstm", "cell", 4), ("gru", "hidden", 3)] {
        let arch = format!("{{ kind = \"lstm\", hidden = 12, cell = \"{cell}\" }}");
        let text = manifest(&arch, &terms.replace("STATE", state), "");
        let ran = lab.run(cell, &text);
        assert!(ran.accuracy("student") > 0.85, "{cell}: {:#}", ran.table());
        assert!(falls(&lab.term(cell, "learn", "task")), "{cell}");
        assert_eq!(lab.weights(cell, "learn", "best").shape("cells.0.weight_hh"), [gates * 12, 12]);
        assert!(lab.events(cell, "said").iter().any(|said| said["text"] == "reads 5 frames"));
    }
    let text = manifest("\"lstm\"", &terms.replace("STATE", "cel"), "");
    let error = lab.run("wrong", &text).err;
    assert!(error.contains("has no tap `cells.0.cel`") && error.contains("did you mean `cells.0.cell`?"), "{error}");
}

#[test]
fn predictor_of_frames_trains_and_takes_modules() {
    let lab = Lab::new();
    clips::write(&lab.path().join("clips.npz"), &[1, 8, 8]);
    let arch = "{ kind = \"conv_lstm\", depth = 2, hidden = 4, kernel = 3, patch = 2 }";
    let terms = "terms.even = { use = \"every_frame\", student = \"student:logits\", target = 0.4 }\n\
                 terms.cell = { use = \"every_frame\", student = \"student:cell_list.0.cell\", target = 0.2 }";
    let own = manifest(arch, terms, "").replace("epochs = 8", "epochs = 2");
    lab.run("own", &own).table();
    assert!(falls(&lab.term("own", "learn", "even")) && falls(&lab.term("own", "learn", "cell")));
    assert_eq!(lab.weights("own", "learn", "best").shape("cell_list.0.conv.0.weight"), [16, 8, 3, 3]);
    let layers = lab.explain("explained", &own);
    for layer in ["patches", "cell_list.0.conv.0", "cell_list.1.conv.0", "conv_last", "frame"] {
        let line = layers.lines().find(|line| line.trim_start().starts_with(layer)).expect("the layer");
        assert!(line.ends_with(" fast"), "{line}");
    }
    let slot = "modules.\"cell_list.0\" = { use = \"conv_lstm_cell\", kernel = 3 }\n";
    lab.run("module", &manifest(arch, terms, slot).replace("epochs = 8", "epochs = 2")).table();
    assert!(falls(&lab.term("module", "learn", "cell")));
    assert_eq!(lab.weights("module", "learn", "best").shape("cell_list.0.conv.weight"), [16, 8, 3, 3]);
}

/// Two cells over frames of 1x8x8, the first a module or not, with the same parameters.
fn network(module: bool) -> Network {
    let settings = json!({ "depth": 2, "hidden": 6, "kernel": 3, "patch": 2 });
    let frame = Frame { input: vec![1, 8, 8], classes: 1 };
    let mut graph = build_table("conv_lstm", settings.as_object().expect("a table"), &frame).expect("builds");
    let set = |owner: &str| Rc::new(ParamSet::new(owner, 1, DType::F32, &Device::Cpu));
    let mut slots = BTreeMap::new();
    if module {
        let index = graph.replace("cell_list.0").expect("a cell");
        let registry = discover(&[plugin("general")]);
        let component = registry.find(Some(Kind::Module), "conv_lstm_cell").expect("is there");
        let part = component.create(r#"{"kernel": 3}"#, host_api()).expect("a part");
        let part = BoundPart::new("cell", component.desc.clone(), part, set("student.cell"));
        slots.insert(index, ModuleSlot { part, replaced: vec![6, 4, 4], state: vec![], values: vec![] });
    }
    let net = Network::new("student", graph, set("student"), true, slots).expect("fits").run_by(Executor::Fast);
    for (prefix, set) in net.sets() {
        for (name, entry) in set.entries() {
            let shape = entry.var.dims();
            let seed = format!("{prefix}{name}").replace("cell_list.0.conv.0.", "cell_list.0.conv.").len();
            let value = |at: usize| (((at * 7919 + seed * 31) as f64 * 0.618_033_988_75).fract() - 0.5) as f32 * 0.5;
            let values = (0..entry.var.elem_count()).map(value).collect::<Vec<_>>();
            set.assign(&name, &Tensor::from_vec(values, shape, &Device::Cpu).expect("fits")).expect("is there");
        }
    }
    net
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|tensor| tensor.to_vec1()).expect("values")
}

#[test]
fn module_in_a_cells_slot_gives_what_the_cell_gives() {
    let values = (0..2 * 4 * 64).map(|at| (f64::from(at) * 0.618_033_988_75).fract() as f32 - 0.5).collect();
    let x = Tensor::from_vec(values, (2, 4, 1, 8, 8), &Device::Cpu).expect("frames");
    let [own, module] = [false, true].map(|module| {
        let net = network(module);
        let want = ["logits", "cell_list.0.cell"].map(|tap| net.graph.tap(tap).expect("a tap"));
        let spec = PassSpec { training: true, track: true, want: want.to_vec(), ..PassSpec::default() };
        let found = net.forward(&x, &spec, &Moment { training: true, ..Moment::default() }).expect("runs");
        let points: Vec<&Source> = want.iter().collect();
        let taps: Vec<Tensor> = points.iter().flat_map(|point| found.taps[*point].clone()).collect();
        let mut record = Record::default();
        let term = |tap: &Tensor| {
            record.watch(tap);
            let all: Vec<usize> = (0..tap.rank()).collect();
            let term = record.during(|| native::mean(&native::square(tap)?, &all, false)).expect("a term");
            (term.clone(), term.ones_like().expect("a number"))
        };
        let terms: Vec<_> = taps.iter().map(term).collect();
        let store = record.gradients(&terms).expect("gradients");
        let mut sums = BTreeMap::<String, Vec<f32>>::new();
        let mut add = |name: &str, value: &Tensor| {
            let name = name.trim_start_matches("cell_list.0.").replace("conv.0.", "conv.");
            let values = flat(value);
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        };
        let of_tape = found.tape.expect("a tape").backward(&store).expect("gradients");
        of_tape.iter().for_each(|gradient| add(&gradient.name, &gradient.value));
        for (name, entry) in net.sets().iter().flat_map(|(_, set)| set.entries()) {
            store.get(&entry.var).into_iter().for_each(|value| add(&name, value));
        }
        (taps.iter().flat_map(flat).collect::<Vec<_>>(), sums)
    });
    let near = |what: &str, a: &[f32], b: &[f32]| {
        let largest = b.iter().fold(1e-4f32, |largest, value| largest.max(value.abs()));
        assert_eq!(a.len(), b.len(), "{what}");
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-4 * largest, "{what}: {a} {b}"));
    };
    near("taps", &own.0, &module.0);
    assert_eq!(own.1.keys().collect::<Vec<_>>(), module.1.keys().collect::<Vec<_>>());
    assert_eq!(own.1.len(), 5);
    own.1.iter().for_each(|(name, values)| near(name, values, &module.1[name]));
}
