//! What 1.0 of the interface promised, as text, one fact a line: layouts, numbers, encodings, shapes, keys of JSON. The text is
//! committed as `tests/abi/1.0/frozen.txt`, and a later minor may add lines to it, never lose or change one.
//!
//! A test that fails here says that a plugin which was built before would break. Put what is new behind what is there, and let
//! `ABI_MINOR` grow.

use crate::abi::abi_stable::type_layout::{TLData, TLField, TypeLayout};
use crate::abi::{self, Preamble, code, distribution, event, role, text};
use crate::desc::*;
use crate::op::samples::samples;
use crate::op::{DType, Op};
use crate::sdk::Init;
use serde_json::Value;
use std::collections::BTreeSet;
use std::mem::offset_of;

const FROZEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/abi/1.0/frozen.txt"));

#[test]
fn what_1_0_froze_is_as_it_was() {
    let now = facts();
    let have: BTreeSet<&str> = now.iter().map(String::as_str).collect();
    let lost: Vec<&str> = FROZEN.lines().filter(|line| !line.starts_with('#') && !have.contains(line)).collect();
    assert!(lost.is_empty(), "frozen in 1.0 and now gone or another:\n{}", lost.join("\n"));
    let known: BTreeSet<&str> = FROZEN.lines().collect();
    let new: Vec<&&str> = have.iter().filter(|line| !known.contains(**line)).collect();
    assert!(new.is_empty() || abi::ABI_MINOR != 0, "new since 1.0, so that the minor has to grow:\n{new:#?}");
}

/// Before 1.0 was released; never again.
#[test]
#[ignore = "writes what the test above holds the crate to"]
fn freeze() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/abi/1.0/frozen.txt");
    let head = "# What 1.0 of the plugin interface promises; plugin-api/src/frozen.rs holds the crate to it.\n";
    std::fs::write(path, format!("{head}{}\n", facts().join("\n"))).expect("is written");
}

fn facts() -> Vec<String> {
    [numbers(), operations(), shapes(), layouts(), keys()].concat()
}

/// Numbers with a meaning.
fn numbers() -> Vec<String> {
    let mut all = vec![
        format!("major {}", abi::ABI_MAJOR),
        format!("symbols {} {}", abi::PREAMBLE_SYMBOL, abi::HEADER_SYMBOL),
        format!("preamble {:?} of {} bytes", String::from_utf8_lossy(&abi::MAGIC), Preamble::SIZE),
    ];
    macro_rules! offsets {
        ($($field:ident)*) => { $( all.push(format!("preamble {} at {}", stringify!($field), offset_of!(Preamble, $field))); )* };
    }
    offsets!(magic abi_major abi_minor pointer_bits unwinds reserved name version built_with);
    macro_rules! constants {
        ($module:ident: $($name:ident)*) => { $( all.push(format!("{} {} {}", stringify!($module), stringify!($name), $module::$name)); )* };
    }
    constants!(role: TERM OUTPUT STATE VALUE);
    constants!(event: STAGE_START EPOCH_START EPOCH_END STAGE_END);
    constants!(text: STAGE PHASE TERM HOST_VERSION INTERFACE);
    constants!(code: COMPONENT PANIC CONFIG OPERATION UNSUPPORTED MISUSE);
    constants!(distribution: UNIFORM NORMAL BERNOULLI);
    let types = (0..4).filter_map(DType::from_code);
    all.extend(types.map(|dtype| format!("dtype {} {} of {} bytes", dtype as u32, dtype.name(), dtype.size())));
    all
}

/// Codes, names and the numbers that attributes become.
fn operations() -> Vec<String> {
    let table = Op::TABLE.iter().map(|(code, name)| format!("op {code} {name}"));
    let encoded = with_attributes().into_iter().map(|op| {
        let numbers = op.encode();
        format!("op {} {op:?} is {:?} {:?}, {} results", op.code(), numbers.ints(), numbers.floats(), op.outputs())
    });
    table.chain(encoded).collect()
}

/// Every operation with attributes, no two of which are equal.
fn with_attributes() -> Vec<Op> {
    let (stride, padding, dilation, groups) = ([2, 3], [4, 5], [6, 7], 8);
    vec![
        Op::LeakyRelu { slope: 0.5 },
        Op::Affine { mul: 2.0, add: 3.0 },
        Op::Pow { exponent: 3.0 },
        Op::Clamp { low: 1.0, high: 2.0 },
        Op::Reshape { shape: vec![2, 3] },
        Op::Permute { dims: vec![1, 0] },
        Op::BroadcastTo { shape: vec![2, 3] },
        Op::Narrow { dim: 1, start: 2, len: 3 },
        Op::Concat { dim: 1 },
        Op::Cast { dtype: DType::I64 },
        Op::Sum { keep: true, dims: vec![0, 2] },
        Op::Mean { keep: false, dims: vec![0, 2] },
        Op::Max { dim: 2, keep: true },
        Op::Min { dim: 2, keep: false },
        Op::ArgMax { dim: 2, keep: true },
        Op::Gather { dim: 2 },
        Op::IndexSelect { dim: 2 },
        Op::OneHot { classes: 5, dtype: DType::F64 },
        Op::Full { value: 0.5, dtype: DType::F64, shape: vec![2, 3] },
        Op::Eye { n: 3, dtype: DType::F64 },
        Op::Arange { n: 3, dtype: DType::I64 },
        Op::Softmax { dim: 2 },
        Op::LogSoftmax { dim: 2 },
        Op::CrossEntropy { smoothing: 0.5 },
        Op::SmoothL1 { beta: 0.5 },
        Op::Normalize { eps: 0.5, dims: vec![1, 2] },
        Op::Conv2d { stride, padding, dilation, groups },
        Op::ConvTranspose2d { stride, padding, output_padding: [9, 10], dilation, groups },
        Op::MaxPool2d { kernel: [8, 9], stride, padding },
        Op::AvgPool2d { kernel: [8, 9], stride, padding, count_padding: true },
        Op::AdaptiveAvgPool2d { size: [2, 3] },
        Op::ResizeBilinear { size: [2, 3] },
        Op::ResizeNearest { size: [2, 3] },
        Op::BatchNormTrain { eps: 0.5 },
        Op::BatchNormEval { eps: 0.5 },
        Op::LayerNorm { dims: 2, eps: 0.5 },
        Op::ScaleGrad { factor: -0.5 },
    ]
}

/// Shapes and types of results.
fn shapes() -> Vec<String> {
    let one = |sample: &crate::op::samples::Sample| {
        let inputs: Vec<String> = sample.inputs.iter().map(ToString::to_string).collect();
        let given = sample.op.infer(&sample.inputs.iter().collect::<Vec<_>>());
        let given = given.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        format!("shape {:?} on {} is {}", sample.op, inputs.join(", "), given.unwrap_or_else(|error| error))
    };
    samples().iter().map(one).collect()
}

/// Types that cross, field by field; tables grow at their end, so that their size is no fact.
fn layouts() -> Vec<String> {
    let (mut all, mut seen) = (vec![], BTreeSet::new());
    visit(abi::host_layout(), &mut seen, &mut all);
    all
}

fn visit(layout: &'static TypeLayout, seen: &mut BTreeSet<String>, all: &mut Vec<String>) {
    let name = named(layout, 0);
    if !seen.insert(name.clone()) {
        return;
    }
    let own = is_own(layout);
    if own && !matches!(layout.data(), TLData::PrefixType(_)) {
        all.push(format!("type {name}: {} bytes aligned to {}", layout.size(), layout.alignment()));
    }
    let fields = fields(layout);
    for (at, field) in fields.iter().enumerate().filter(|_| own) {
        let is = if field.is_function() { functions(field) } else { named(field.layout(), 0) };
        all.push(format!("type {name} has {at} {}: {is}", field.name()));
    }
    for field in fields.iter().chain(&layout.phantom_fields().to_vec()) {
        for function in field.function_range().iter() {
            let given = function.return_type_layout();
            function.param_type_layouts.iter().chain(given).for_each(|layout| visit(layout(), seen, all));
        }
        visit(field.layout(), seen, all);
    }
}

fn is_own(layout: &TypeLayout) -> bool {
    layout.package().as_str() == "stillhouse-plugin"
}

fn fields(layout: &'static TypeLayout) -> Vec<TLField> {
    layout.get_fields().map(|fields| fields.to_vec()).unwrap_or_default()
}

/// A type's name; of a type of `abi_stable` also what it is made of, since its name says nothing of its parameters.
fn named(layout: &'static TypeLayout, depth: usize) -> String {
    let own = layout.full_type().to_string().trim().to_owned();
    if is_own(layout) {
        // Tables of two traits have one name.
        return format!("{}::{own}", layout.mod_path());
    }
    let parts: Vec<String> = match depth {
        0..3 => fields(layout).iter().map(|field| named(field.layout(), depth + 1)).collect(),
        _ => vec![],
    };
    if parts.is_empty() { own } else { format!("{own}{{{}}}", parts.join(", ")) }
}

fn functions(field: &TLField) -> String {
    let one = |function: abi::abi_stable::type_layout::TLFunction| {
        let parameters: Vec<String> = function.param_type_layouts.iter().map(|layout| named(layout(), 0)).collect();
        let given = function.return_type_layout().map_or_else(|| "()".into(), |layout| named(layout(), 0));
        format!("fn({}) -> {given}", parameters.join(", "))
    };
    field.function_range().iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Keys of what crosses as JSON, with the type of their values.
fn keys() -> Vec<String> {
    let port = Port { default: Some("logits".into()), phase: Some("p".into()), ..Port::student() };
    let desc = Desc {
        kind: Kind::Loss,
        name: "n".into(),
        doc: "d".into(),
        citation: "c".into(),
        schema: Value::Object(serde_json::Map::new()),
        ports: vec![port.clone()],
        batch_coupled: true,
        dynamic: true,
    };
    let phase = Phase { name: "p".into(), terms: vec!["t".into()], with_others: true, updates: vec!["student".into()] };
    let plan = Plan {
        ports: vec![port],
        terms: vec![TermPlan::new("t")],
        groups: vec![Group { name: "g".into(), params: vec!["*".into()], optimizer: Some(serde_json::json!({})) }],
        passes: vec![Pass {
            name: "p".into(),
            model: "student".into(),
            view: Some("v".into()),
            reverse_time: true,
            mode: Some(Mode::Train),
        }],
        phases: vec![phase.clone()],
        stages: vec![StagePlan {
            name: "s".into(),
            terms: vec!["t".into()],
            upto_port: Some("p".into()),
            train: vec!["*".into()],
            freeze: vec!["*".into()],
            freeze_own: vec!["*".into()],
            epochs: Some(1.0),
            patience: Some(1),
            phases: vec![phase],
            ..StagePlan::default()
        }],
    };
    let model = ModelSite { name: "m".into(), layers: vec![("l".into(), "k".into())], parameters: vec!["w".into()] };
    let site = Site {
        student: model.clone(),
        teachers: vec![model],
        fields: vec![FieldSite { name: "f".into(), shape: vec![1] }],
        bindings: vec![("p".into(), vec!["logits".into()])],
        ..Site::default()
    };
    let mut all = vec![];
    let mut add = |name: &str, value: serde_json::Result<Value>| walk(name, &value.expect("serialises"), &mut all);
    add("desc", serde_json::to_value(desc));
    add("plan", serde_json::to_value(plan));
    add("site", serde_json::to_value(site));
    all.extend(names());
    all
}

/// Names that stand for variants.
fn names() -> Vec<String> {
    let kinds = [Kind::Loss, Kind::Connector, Kind::Module, Kind::Distiller].map(|kind| serde_json::to_string(&kind));
    let sources = [Source::Student, Source::Teacher, Source::Data, Source::StudentParameter, Source::TeacherParameter]
        .map(|source| serde_json::to_string(&source));
    let others = [serde_json::to_string(&Mode::Train), serde_json::to_string(&Mode::Eval)];
    let units = [serde_json::to_string(&Unit::Epochs), serde_json::to_string(&Unit::Steps)];
    let starts = [
        Init::Zeros,
        Init::Ones,
        Init::Constant { value: 1.5 },
        Init::Uniform { low: 1.5, high: 2.5 },
        Init::Normal { mean: 1.5, std: 2.5 },
        Init::KaimingNormal { gain: 1.5, fan_out: true },
        Init::KaimingUniform { gain: 1.5 },
        Init::XavierNormal { gain: 1.5 },
        Init::BiasUniform { fan_in: 3 },
    ];
    let all = kinds.into_iter().chain(sources).chain(others).chain(units);
    all.map(|name| format!("json name {}", name.expect("serialises")))
        .chain(starts.iter().map(|init| format!("json init {}", init.json())))
        .collect()
}

fn walk(path: &str, value: &Value, all: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    all.push(format!("json {path} {kind}"));
    match value {
        Value::Array(list) => list.iter().for_each(|one| walk(&format!("{path}[]"), one, all)),
        Value::Object(map) => map.iter().for_each(|(key, one)| walk(&format!("{path}.{key}"), one, all)),
        _ => {}
    }
}
