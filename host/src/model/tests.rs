mod families;

pub(crate) use families::small as small_families;

use super::{Frame, ModelError, build_inline, build_short, build_table, weights};
use crate::exec::Network;
use crate::graph::{Graph, LayerKind, Source};
use crate::manifest::Layer;
use crate::ops::{ParamKind, ParamSet};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use weights::{WeightsError, load_weights, read, save_weights, write};

fn frame(input: &[usize], classes: usize) -> Frame {
    Frame { input: input.to_vec(), classes }
}

fn cifar() -> Frame {
    frame(&[3, 32, 32], 100)
}

fn network(graph: Graph) -> Network {
    let params = Rc::new(ParamSet::new("student", 1, DType::F32, &Device::Cpu));
    Network::new("student", graph, params, false, BTreeMap::new()).expect("fits")
}

fn table(kind: &str, settings: Value, frame: &Frame) -> Result<Graph, ModelError> {
    build_table(kind, settings.as_object().expect("a table"), frame)
}

/// Counts of HobbitLong/RepDistiller, models/{resnet,vgg}.py, for 100 classes; worked out from the architecture (resnet20:
/// stem 464, groups 14016, 51648 and 205696, `fc` 6500).
#[test]
fn parameter_count_equals_the_reference() {
    let cases = [
        ("resnet8", 83_892),
        ("resnet14", 181_108),
        ("resnet20", 278_324),
        ("resnet32", 472_756),
        ("resnet44", 667_188),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
        ("resnet8x4", 1_233_540),
        ("resnet32x4", 7_433_860),
        ("vgg8", 3_965_028),
        ("vgg11", 9_277_284),
        ("vgg13", 9_462_180),
        ("vgg16", 14_774_436),
        ("vgg19", 20_086_692),
    ];
    for (name, wanted) in cases {
        let net = network(build_short(name, &cifar()).expect(name));
        assert_eq!(net.params.parameter_count(), wanted, "{name}");
        assert_eq!((net.graph.name.as_str(), net.shapes.last()), (name, Some(&vec![100])));
    }
}

#[test]
fn parameter_names_are_those_of_the_sources_state_dict() {
    let names = |name: &str| -> Vec<String> {
        network(build_short(name, &cifar()).expect(name)).params.entries().into_iter().map(|(name, _)| name).collect()
    };
    let norm = |path: &str| ["weight", "bias", "running_mean", "running_var"].map(|suffix| format!("{path}.{suffix}"));
    let conv = |path: &str| vec![format!("{path}.weight")];
    let mut wanted = [conv("conv1"), norm("bn1").into()].concat();
    for layer in 1..4 {
        for (of_conv, of_norm) in [("conv1", "bn1"), ("conv2", "bn2"), ("downsample.0", "downsample.1")] {
            if layer > 1 || !of_conv.starts_with("downsample") {
                wanted.extend(conv(&format!("layer{layer}.0.{of_conv}")));
                wanted.extend(norm(&format!("layer{layer}.0.{of_norm}")));
            }
        }
    }
    wanted.extend(["fc.weight", "fc.bias"].map(String::from));
    assert_eq!(names("resnet8"), wanted);
    assert!(
        names("resnet8x4").contains(&"layer1.0.downsample.0.weight".into()),
        "the stem is narrower than the first group"
    );
    let vgg = names("vgg13");
    assert_eq!(vgg[..2], ["block0.0.weight", "block0.0.bias"]);
    assert!(
        ["block0.1.running_var", "block0.3.weight", "block4.4.bias", "classifier.weight"]
            .iter()
            .all(|name| vgg.contains(&(*name).into()))
    );
    assert_eq!(
        network(table("mlp", json!({ "hidden": [5, 4] }), &cifar()).unwrap()).params.names(ParamKind::Parameter).len(),
        6
    );
}

#[test]
fn taps_of_families_have_the_sizes_of_the_paper() {
    let net = network(build_short("resnet20", &cifar()).unwrap());
    let shape = |tap: &str| net.shape(&net.graph.tap(tap).expect(tap)).unwrap();
    let taps = ["conv1", "layer1", "layer2", "layer2:in", "layer3", "layer3.2", "avgpool", "logits", "input"];
    let wanted: [&[usize]; 9] = [
        &[16, 32, 32],
        &[16, 32, 32],
        &[32, 16, 16],
        &[16, 32, 32],
        &[64, 8, 8],
        &[64, 8, 8],
        &[64],
        &[100],
        &[3, 32, 32],
    ];
    assert_eq!(taps.map(shape), wanted);
    let vgg = |size: usize| -> Vec<usize> {
        let net = network(build_short("vgg8", &frame(&[3, size, size], 10)).unwrap());
        (0..5).map(|block| net.shape(&net.graph.tap(&format!("block{block}")).unwrap()).unwrap()[1]).collect()
    };
    // The source pools before the last block at 64 pixels only.
    assert_eq!((vgg(32), vgg(64)), (vec![32, 16, 8, 4, 4], vec![64, 32, 16, 8, 4]));
}

#[test]
fn families_take_any_size_and_channels() {
    for input in [[1, 28, 28], [1, 8, 8], [3, 33, 47], [2, 1, 1]] {
        for (kind, settings) in [
            ("resnet", json!({ "depth": 8, "width": 2 })),
            ("vgg", json!({ "depth": 11, "width": 2 })),
            ("mlp", json!({ "hidden": [3] })),
        ] {
            let net = network(
                table(kind, settings, &frame(&input, 10)).unwrap_or_else(|error| panic!("{kind} {input:?}: {error:?}")),
            );
            assert_eq!(net.shapes.last(), Some(&vec![10]), "{kind} {input:?}");
        }
    }
    assert_eq!(
        network(build_short("mlp", &frame(&[5], 2)).unwrap()).params.parameter_count(),
        5 * 128 + 128 + 128 * 2 + 2
    );
    let dropped = table("mlp", json!({ "hidden": [3], "dropout": 0.5 }), &cifar()).unwrap();
    assert!(dropped.layers.iter().any(|layer| layer.kind == LayerKind::Dropout { p: 0.5 }));
}

#[test]
fn architecture_that_cannot_be_is_error_with_key_and_hint() {
    let digits = frame(&[64], 10);
    let cases = [
        (build_short("resnet21", &cifar()), "must be 6 n + 2 with n from 1, got 21", "depth", "the nearest is 20"),
        (build_short("resnet25", &cifar()), "got 25", "depth", "the nearest is 26"),
        (build_short("resnet2", &cifar()), "got 2", "depth", "the nearest is 8"),
        (build_short("resent20", &cifar()), "unknown architecture `resent20`", "", "did you mean `resnet20`?"),
        (build_short("transformer", &cifar()), "unknown architecture `transformer`", "", "known: resnet8, "),
        (build_short("vgg12", &cifar()), "the depth 8, 11, 13, 16 or 19, got 12", "depth", ""),
        (build_short("resnet20", &digits), "`resnet` wants images [C, H, W], the data has [64]", "", ""),
        (table("resnt", json!({}), &cifar()), "unknown kind of architecture `resnt`", "kind", "did you mean `resnet`?"),
        (table("resnet", json!({ "depth": 20, "widht": 8 }), &cifar()), "unknown field `widht`", "widht", ""),
        (table("resnet", json!({ "depth": "deep" }), &cifar()), "invalid type: string \"deep\"", "depth", ""),
        (table("resnet", json!({}), &cifar()), "missing field `depth`", "", ""),
        (table("resnet", json!({ "depth": 20, "width": 0 }), &cifar()), "channels must be 1 or more", "width", ""),
        (table("mlp", json!({ "hidden": [4, 0] }), &cifar()), "a hidden layer needs features", "hidden", ""),
        (table("mlp", json!({ "dropout": -0.5 }), &cifar()), "`dropout` must be in [0, 1), got -0.5", "dropout", ""),
    ];
    for (result, message, key, hint) in cases {
        let error = result.expect_err(message);
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(error.key.as_deref().unwrap_or_default(), key, "{error:?}");
        assert!(
            error.hint.as_deref().unwrap_or_default().starts_with(hint) && (error.hint.is_none() == hint.is_empty()),
            "{error:?}"
        );
    }
}

fn inline(layers: Value) -> Result<Graph, ModelError> {
    let layers: Vec<Layer> = serde_json::from_value(layers).expect("layers");
    build_inline(&layers, &[3, 8, 8])
}

#[test]
fn inline_layers_read_the_one_before_or_those_named() {
    let graph = inline(json!([
        { "name": "stem", "kind": "conv", "out": 4, "kernel": 3, "padding": 1 },
        { "name": "body.conv", "kind": "conv", "out": 4, "kernel": 3, "padding": 1 },
        { "name": "sum", "kind": "add", "from": ["body.conv", "stem"] },
        { "name": "small", "kind": "resize", "size": 8, "filter": "bilinear", "from": "input" },
        { "name": "both", "kind": "concat", "from": ["sum", "small"] },
        { "name": "pool", "kind": "global_avg_pool" },
        { "name": "fc", "kind": "linear", "out": 5 },
    ]))
    .expect("builds");
    let inputs: Vec<Vec<Source>> = graph.layers.iter().map(|layer| layer.inputs.clone()).collect();
    assert_eq!(inputs[2], [Source::Layer(1), Source::Layer(0)]);
    assert_eq!((&inputs[3], &inputs[5]), (&vec![Source::Input], &vec![Source::Layer(4)]));
    assert_eq!(network(graph).shapes[4..], [vec![7, 8, 8], vec![7], vec![5]]);
}

#[test]
fn inline_layer_that_cannot_be_is_error_at_its_place() {
    let relu = json!({ "name": "a", "kind": "relu" });
    let cases = [
        (json!({ "name": "b", "kind": "cnv" }), "layer `b`: unknown kind `cnv`", "1.kind", "did you mean `conv`?"),
        (
            json!({ "name": "b", "kind": "relu", "from": "aa" }),
            "layer `b` reads `aa`, which is no layer before it",
            "1.from",
            "did you mean",
        ),
        (json!({ "name": "b", "kind": "relu", "from": "b" }), "reads `b`", "1.from", ""),
        (
            json!({ "name": "b", "kind": "conv", "out": 2, "kernel": 1, "strid": 2 }),
            "layer `b`: unknown field `strid`",
            "1.strid",
            "did you mean `stride`?",
        ),
        (
            json!({ "name": "b", "kind": "conv", "out": true, "kernel": 1 }),
            "layer `b`: `out`: invalid type",
            "1.out",
            "",
        ),
        (json!({ "name": "b", "kind": "relu", "slope": 2 }), "layer `b`: unknown field `slope`", "1.slope", ""),
        (json!({ "name": "a", "kind": "relu" }), "two layers are named `a`", "1", ""),
        (json!({ "name": "logits", "kind": "relu" }), "`logits` is reserved", "1", ""),
        (
            json!({ "name": "b", "kind": "conv", "out": 2, "kernel": 20 }),
            "layer `b`: a window of 20 does not fit",
            "1",
            "",
        ),
    ];
    for (layer, message, key, hint) in cases {
        let error = inline(json!([relu, layer])).expect_err(message);
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(error.key.as_deref(), Some(key), "{error:?}");
        assert!(error.hint.as_deref().unwrap_or_default().starts_with(hint), "{error:?}");
    }
    assert!(inline(json!([])).is_err());
}

fn small(seed: u64, classes: usize) -> Network {
    let params = Rc::new(ParamSet::new("student", seed, DType::F32, &Device::Cpu));
    let graph = table("resnet", json!({ "depth": 8, "width": 2 }), &frame(&[1, 8, 8], classes)).expect("builds");
    Network::new("student", graph, params, false, BTreeMap::new()).expect("fits")
}

fn values(net: &Network) -> Vec<(String, Vec<f32>)> {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    net.params.entries().into_iter().map(|(name, entry)| (name, flat(entry.var.as_tensor()))).collect()
}

#[test]
fn weights_saved_and_loaded_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.safetensors");
    let (from, to) = (small(1, 3), small(2, 3));
    assert_ne!(values(&from), values(&to));
    save_weights(&path, &from.params).unwrap();
    load_weights(&path, &to.params).unwrap();
    assert_eq!(values(&from), values(&to));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn weights_that_do_not_fit_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let net = small(1, 3);
    let before = values(&net);
    let refused = |path: &Path| {
        let error = load_weights(path, &net.params).expect_err("refused");
        assert_eq!(values(&net), before);
        error
    };
    let error = refused(&at("none.safetensors"));
    assert!(matches!(error, WeightsError::Missing(_)) && error.hint().is_some(), "{error}");
    save_weights(&at("wide.safetensors"), &small(1, 5).params).unwrap();
    let error = refused(&at("wide.safetensors"));
    assert!(
        error.to_string().starts_with("`fc.weight` of ")
            && error.to_string().ends_with("the network has [3, 8], the file [5, 8]"),
        "{error}"
    );
    let mut tensors = read(&at("wide.safetensors")).unwrap();
    let bias = tensors.remove("bn1.bias").unwrap();
    tensors.insert("bn1.bais".into(), bias);
    write(&at("renamed.safetensors"), &tensors).unwrap();
    let error = refused(&at("renamed.safetensors"));
    assert!(error.to_string().ends_with("has no tensor `bn1.bias` [2]"), "{error}");
    assert_eq!(error.hint().unwrap(), "the file has `bn1.bais`; is this another architecture?");
    let whole = std::fs::read(at("wide.safetensors")).unwrap();
    for (name, bytes) in [("cut", &whole[..whole.len() / 2]), ("short", &whole[..4]), ("empty", &[][..])] {
        for ending in ["safetensors", "pth"] {
            let path = at(&format!("{name}.{ending}"));
            std::fs::write(&path, bytes).unwrap();
            let error = refused(&path);
            assert!(matches!(&error, WeightsError::File { path: of, .. } if *of == path), "{error}");
        }
    }
    assert!(save_weights(&at("no/such/folder/x.safetensors"), &net.params).is_err());
}

/// A PyTorch file: a zip of a pickle and raw storages. `keys` nest the one tensor `fc.weight` `[2, 3]` of 0 to 5.
fn pickle(path: &Path, keys: &[&str], name: &str) {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let mut data = b"\x80\x02".to_vec();
    for key in keys {
        data.extend([&b"}"[..], &text(key)].concat());
    }
    data.extend([&b"}"[..], &text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(("].concat());
    data.extend(
        [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), b"K\x06tQ".to_vec()].concat(),
    );
    data.extend(b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtRs");
    data.extend(keys.iter().map(|_| b's'));
    data.push(b'.');
    let mut file = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let plain = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let storage: Vec<u8> = (0..6).flat_map(|value| (value as f32).to_le_bytes()).collect();
    for (entry, bytes) in [("archive/data.pkl", data), ("archive/data/0", storage)] {
        file.start_file(entry, plain).unwrap();
        file.write_all(&bytes).unwrap();
    }
    file.finish().unwrap();
}

#[test]
fn weights_of_pytorch_are_read_bare_nested_and_prefixed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("teacher.pth");
    for (keys, name) in
        [(&[][..], "fc.weight"), (&["model"][..], "fc.weight"), (&["state_dict"][..], "module.fc.weight")]
    {
        pickle(&path, keys, name);
        let tensors: HashMap<String, Tensor> = read(&path).unwrap();
        let weight = tensors.get("fc.weight").unwrap_or_else(|| panic!("{keys:?} {name}: {:?}", tensors.keys()));
        assert_eq!(weight.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
    }
}
