use super::{Graph, GraphBuilder, LayerKind, Source};
use serde_json::{Value, json};
use stillhouse_plugin::Init;
use stillhouse_plugin::op::{DType, Meta};

fn kind(table: &Value) -> LayerKind {
    LayerKind::read(table.as_object().expect("a table")).unwrap_or_else(|error| panic!("{table}: {error:?}"))
}

fn relu() -> LayerKind {
    LayerKind::Relu
}

/// `stem`, then `layer1` of two blocks (the second with a shortcut), `head`, `fc`; `aux` reads `stem` and feeds nobody.
fn blocks() -> Graph {
    let mut net = GraphBuilder::new("blocks", &[2, 4, 4]);
    let stem = net.layer("stem", relu(), &[&Source::Input]).unwrap();
    net.layer("aux", relu(), &[&stem]).unwrap();
    let first = net.layer("layer1.0.conv", relu(), &[&stem]).unwrap();
    net.group("layer1.0", &stem, &first).unwrap();
    let inner = net.layer("layer1.1.conv", relu(), &[&first]).unwrap();
    let second = net.layer("layer1.1.add", LayerKind::Add, &[&inner, &first]).unwrap();
    net.group("layer1.1", &first, &second).unwrap();
    net.group("layer1", &stem, &second).unwrap();
    let head = net.layer("head", LayerKind::GlobalAvgPool, &[&second]).unwrap();
    let fc = net.layer("fc", LayerKind::linear(3), &[&head]).unwrap();
    net.finish(&fc).unwrap()
}

fn paths(graph: &Graph) -> Vec<&str> {
    graph.layers.iter().map(|layer| layer.path.as_str()).collect()
}

/// Paths that each layer reads.
fn reads<'a>(graph: &'a Graph, path: &str) -> Vec<&'a str> {
    let Some(Source::Layer(index)) = graph.tap(path) else { panic!("no `{path}`") };
    let name = |source: &Source| source.layer().map_or("input", |index| graph.layers[index].path.as_str());
    graph.layers[index].inputs.iter().map(name).collect()
}

#[test]
fn tap_of_layers_groups_and_ends_is_their_point() {
    let graph = blocks();
    let at = |path: &str| Source::Layer(paths(&graph).iter().position(|known| *known == path).unwrap());
    let cases = [
        ("layer1", Some(at("layer1.1.add"))),
        ("layer1.0", Some(at("layer1.0.conv"))),
        ("layer1.0.conv", Some(at("layer1.0.conv"))),
        ("layer1:in", Some(at("stem"))),
        ("layer1.1:in", Some(at("layer1.0.conv"))),
        ("layer1.1.add:in", Some(at("layer1.1.conv"))),
        ("stem:in", Some(Source::Input)),
        ("input", Some(Source::Input)),
        ("logits", Some(at("fc"))),
        ("logits:in", None),
        ("input:in", None),
        ("layer2", None),
        ("layer1.0.conv.gate", None),
        ("", None),
    ];
    for (tap, wanted) in cases {
        assert_eq!(graph.tap(tap), wanted, "{tap}");
    }
    assert!(graph.paths().ends_with(&["layer1.0", "layer1.1", "layer1", "logits", "input"]));
}

#[test]
fn tap_of_a_recurrent_layer_is_its_state() {
    let mut net = GraphBuilder::new("cells", &[3]);
    let x = net.layer("low", kind(&json!({ "kind": "gru", "hidden": 2 })), &[&Source::Input]).unwrap();
    let y = net.layer("high.0", kind(&json!({ "kind": "lstm", "hidden": 2 })), &[&x]).unwrap();
    net.group("high", &x, &y).unwrap();
    let graph = net.finish(&y).unwrap();
    assert_eq!(graph.states(), ["low.hidden", "high.0.hidden", "high.0.cell"]);
    let cell = || Some(Source::Value(1, "cell".into()));
    assert_eq!([graph.tap("high.0.cell"), graph.tap("high.cell")], [cell(), cell()]);
    assert_eq!([graph.tap("low.hidden"), graph.tap("high.hidden")], [Some(Source::Layer(0)), Some(Source::Layer(1))]);
    for tap in ["low.cell", "high.gate", "high.cell:in", "high.0.hidden:in"] {
        assert_eq!(graph.tap(tap), None, "{tap}");
    }
}

#[test]
fn matching_keeps_the_order_of_the_graph() {
    let graph = blocks();
    assert_eq!(graph.matching("layer1.*"), ["layer1.0", "layer1.1"]);
    assert_eq!(graph.matching("layer*.*.conv"), ["layer1.0.conv", "layer1.1.conv"]);
    assert_eq!(
        graph.matching("layer1**"),
        ["layer1.0.conv", "layer1.0", "layer1.1.conv", "layer1.1.add", "layer1.1", "layer1"]
    );
    assert_eq!(graph.matching("fc"), ["fc"]);
    assert!(graph.matching("layer9*").is_empty());
}

#[test]
fn needed_is_what_the_points_depend_on() {
    let graph = blocks();
    let needed = |taps: &[&str]| -> Vec<&str> {
        let points: Vec<Source> = taps.iter().map(|tap| graph.tap(tap).unwrap()).collect();
        graph.needed(&points).into_iter().map(|index| paths(&graph)[index]).collect()
    };
    assert_eq!(needed(&["layer1.0"]), ["stem", "layer1.0.conv"]);
    assert_eq!(needed(&["aux", "layer1.0"]), ["stem", "aux", "layer1.0.conv"]);
    assert!(needed(&["input"]).is_empty());
    assert_eq!(needed(&["logits"]).len(), graph.layers.len() - 1);
}

#[test]
fn replace_of_a_layer_keeps_the_rest() {
    let mut graph = blocks();
    let index = graph.replace("layer1.1.conv").expect("replaced");
    assert_eq!((graph.layers[index].path.as_str(), &graph.layers[index].kind), ("layer1.1.conv", &LayerKind::Module));
    assert_eq!(paths(&graph), paths(&blocks()));
    assert_eq!(graph.tap("layer1.1.conv.gate"), Some(Source::Value(index, "gate".into())));
    assert_eq!(graph.tap("layer1.1.conv.gate:in"), None);
    assert_eq!(graph.replace("nothing"), None);
}

#[test]
fn replace_of_a_group_prunes_its_inside_and_moves_what_follows() {
    let mut graph = blocks();
    let index = graph.replace("layer1").expect("replaced");
    assert_eq!(paths(&graph), ["stem", "aux", "layer1", "head", "fc"], "a layer outside that nobody read stays");
    assert_eq!(index, 2);
    assert_eq!(
        [reads(&graph, "layer1"), reads(&graph, "head"), reads(&graph, "logits")],
        [["stem"], ["layer1"], ["head"]]
    );
    assert!(graph.groups.is_empty() && graph.tap("layer1.1.conv").is_none());
    assert_eq!(graph.tap("layer1.1"), Some(Source::Value(2, "1".into())), "a value that the module may offer");
    assert_eq!((graph.tap("layer1"), graph.tap("layer1:in")), (Some(Source::Layer(2)), Some(Source::Layer(0))));
    assert_eq!(graph.output, 4);
}

#[test]
fn replace_of_an_inner_group_keeps_the_outer_one() {
    let mut graph = blocks();
    let index = graph.replace("layer1.1").expect("replaced");
    assert_eq!(paths(&graph), ["stem", "aux", "layer1.0.conv", "layer1.1", "head", "fc"]);
    assert_eq!((graph.tap("layer1"), reads(&graph, "layer1.1")), (Some(Source::Layer(index)), vec!["layer1.0.conv"]));
    let mut graph = blocks();
    graph.replace("layer1.0").expect("replaced");
    assert_eq!(reads(&graph, "layer1.1.add"), ["layer1.1.conv", "layer1.0"]);
    assert_eq!(graph.tap("layer1.1:in"), graph.tap("layer1.0"));
}

#[test]
fn replace_of_the_output_is_the_output() {
    let mut graph = blocks();
    let index = graph.replace("fc").expect("replaced");
    assert_eq!(graph.tap("logits"), Some(Source::Layer(index)));
}

#[test]
fn builder_refuses_bad_paths_and_shapes_with_the_path() {
    let mut net = GraphBuilder::new("net", &[3, 8, 8]);
    let x = net.layer("a", relu(), &[&Source::Input]).unwrap();
    net.group("g", &Source::Input, &x).unwrap();
    for (path, wanted) in [
        ("a", "two layers are named `a`"),
        ("g", "two layers are named `g`"),
        ("input", "`input` is reserved"),
        ("logits", "`logits` is reserved"),
        ("a:in", "`a:in` is no path"),
        ("a*", "`a*` is no path"),
        ("", "`` is no path"),
    ] {
        assert_eq!(net.layer(path, relu(), &[&x]), Err(wanted.into()));
        assert_eq!(net.group(path, &Source::Input, &x), Err(wanted.into()));
    }
    let conv = json!({ "kind": "conv", "out": 4, "kernel": 9 });
    let wide = net.layer("b", kind(&conv), &[&x]).unwrap_err();
    assert!(wide.starts_with("layer `b`: a window of 9 does not fit into 8"), "{wide}");
    let pooled = net.layer("c", LayerKind::GlobalAvgPool, &[&x]).unwrap();
    assert_eq!(
        net.layer("d", LayerKind::Add, &[&x, &pooled]).unwrap_err(),
        "layer `d`: cannot combine [2, 3, 8, 8] f32 and [2, 3] f32"
    );
    assert_eq!(net.layer("d", relu(), &[]).unwrap_err(), "layer `d`: reads nothing");
    assert_eq!(net.layer("d", relu(), &[&x, &x]).unwrap_err(), "layer `d`: takes one input, got 2");
    assert_eq!(
        net.layer("d", LayerKind::GlobalAvgPool, &[&pooled]).unwrap_err(),
        "layer `d`: wants [C, H, W], got [3]"
    );
    assert!(net.layer("d", relu(), &[&Source::Layer(9)]).unwrap_err().contains("comes later"));
    assert_eq!(net.group("e", &x, &Source::Input), Err("group `e` is empty".into()));
    assert!(net.finish(&Source::Input).unwrap_err().contains("no layers"));
}

#[test]
fn layer_that_does_not_fit_says_why() {
    let cases = [
        (json!({ "kind": "conv", "out": 4, "kernel": 1 }), vec![3], "a convolution wants [C, H, W], got [3]"),
        (
            json!({ "kind": "conv", "out": 4, "kernel": 1, "groups": 2 }),
            vec![3, 4, 4],
            "3 channels to 4 do not divide into 2 groups",
        ),
        (
            json!({ "kind": "conv", "out": 0, "kernel": 1 }),
            vec![3, 4, 4],
            "3 channels to 0 do not divide into 1 groups",
        ),
        (
            json!({ "kind": "conv", "out": 4, "kernel": 1, "stride": 0 }),
            vec![3, 4, 4],
            "stride and dilation must be 1 or more",
        ),
        (json!({ "kind": "linear", "out": 0 }), vec![3], "cannot go from [3] to 0 features"),
        (json!({ "kind": "layer_norm", "dims": 3 }), vec![3, 4], "cannot normalise the last 3 dimensions of [3, 4]"),
        (json!({ "kind": "reshape", "shape": [5] }), vec![3], "6 elements are not 10"),
        (json!({ "kind": "dropout", "p": 1.0 }), vec![3], "`p` must be in [0, 1), got 1"),
        (json!({ "kind": "max_pool", "kernel": 2, "padding": 2 }), vec![1, 4, 4], "more than half"),
        (json!({ "kind": "slice", "start": 2, "len": 2 }), vec![3, 4, 4], "range 2..4 leaves dimension 1"),
        (json!({ "kind": "slice", "start": 0, "len": 0 }), vec![3], "`len` must be 1 or more, got 0"),
        (json!({ "kind": "slice", "start": 0, "len": 1 }), vec![], "wants channels, got []"),
        (json!({ "kind": "channel_shuffle", "groups": 2 }), vec![3, 4, 4], "3 channels do not divide into 2 groups"),
        (json!({ "kind": "channel_shuffle", "groups": 0 }), vec![3], "3 channels do not divide into 0 groups"),
        (json!({ "kind": "pad", "top": 1 }), vec![3, 4], "wants [C, H, W], got [3, 4]"),
        (json!({ "kind": "tokens" }), vec![3], "wants [C, H, W], got [3]"),
        (json!({ "kind": "class_token" }), vec![3], "wants [T, D], got [3]"),
        (json!({ "kind": "position_embedding" }), vec![3, 4, 4], "wants [T, D], got [3, 4, 4]"),
        (json!({ "kind": "self_attention", "heads": 2 }), vec![5, 3], "3 features do not divide into 2 heads"),
        (json!({ "kind": "self_attention", "heads": 0 }), vec![5, 3], "3 features do not divide into 0 heads"),
        (json!({ "kind": "resize", "size": 0, "filter": "nearest" }), vec![1, 4, 4], "cannot bring"),
        (json!({ "kind": "lstm", "hidden": 2 }), vec![3, 4], "an LSTM wants [C], got [3, 4]"),
        (json!({ "kind": "lstm", "hidden": 0 }), vec![3], "`hidden` must be 1 or more, got 0"),
        (json!({ "kind": "gru", "hidden": 2 }), vec![3, 4, 4], "a GRU wants [C], got [3, 4, 4]"),
        (json!({ "kind": "gru", "hidden": 0 }), vec![3], "`hidden` must be 1 or more, got 0"),
        (
            json!({ "kind": "conv_lstm", "hidden": 2, "kernel": 3 }),
            vec![3],
            "convolutional LSTM wants [C, H, W], got [3]",
        ),
        (json!({ "kind": "conv_lstm", "hidden": 0, "kernel": 3 }), vec![1, 4, 4], "`hidden` must be 1 or more, got 0"),
        (json!({ "kind": "conv_lstm", "hidden": 2, "kernel": [3, 2] }), vec![1, 4, 4], "`kernel` must be odd"),
        (json!({ "kind": "conv_lstm", "hidden": 2, "kernel": 0 }), vec![1, 4, 4], "must be odd, so that the size"),
        (json!({ "kind": "space_to_depth", "block": 2 }), vec![3], "wants [C, H, W], got [3]"),
        (json!({ "kind": "space_to_depth", "block": 0 }), vec![1, 4, 4], "`block` must be 1 or more, got 0"),
        (json!({ "kind": "space_to_depth", "block": 3 }), vec![1, 3, 4], "3x4 pixels do not divide into blocks of 3x3"),
        (json!({ "kind": "depth_to_space", "block": 2 }), vec![6, 4, 4], "6 channels do not divide into blocks of 2x2"),
        (json!({ "kind": "depth_to_space", "block": 0 }), vec![4, 4, 4], "`block` must be 1 or more, got 0"),
    ];
    for (table, input, wanted) in cases {
        let shape: Vec<usize> = std::iter::once(2).chain(input).collect();
        let said = kind(&table).infer(&[&Meta::new(shape, DType::F32)]).expect_err("refused");
        assert!(said.contains(wanted), "{table}: {said}");
    }
}

#[test]
fn kind_read_with_defaults_is_as_pytorch_has_them() {
    let conv = kind(&json!({ "kind": "conv", "out": 8, "kernel": [3, 1] }));
    let LayerKind::Conv { kernel, stride, padding, dilation, groups, bias, init, bias_init, .. } = conv else {
        panic!("{conv:?}")
    };
    assert_eq!((kernel.0, stride.0, padding.0, dilation.0), ([3, 1], [1; 2], [0; 2], [1; 2]));
    assert_eq!((groups, bias, init, bias_init), (1, true, None, None));
    assert_eq!(kind(&json!({ "kind": "batch_norm" })), LayerKind::batch_norm());
    assert_eq!(kind(&json!({ "kind": "linear", "out": 2 })), LayerKind::linear(2));
    assert_eq!(kind(&json!({ "kind": "layer_norm" })), LayerKind::LayerNorm { dims: None, eps: 1e-5 });
    assert_eq!(kind(&json!({ "kind": "leaky_relu" })), LayerKind::LeakyRelu { slope: 0.01 });
    let with_init = kind(&json!({ "kind": "linear", "out": 2, "init": { "kind": "normal", "mean": 0, "std": 0.01 } }));
    assert!(matches!(with_init, LayerKind::Linear { init: Some(Init::Normal { .. }), .. }));
}

#[test]
fn kind_read_wrongly_names_the_key() {
    let cases = [
        (json!({ "kind": "cnv" }), "kind", "unknown variant `cnv`, expected one of `conv`"),
        (json!({ "kind": "module" }), "kind", "unknown variant `module`"),
        (json!({ "kind": "conv", "kernel": 3 }), "kind", "missing field `out`"),
        (json!({ "kind": "conv", "out": 3 }), "kind", "missing field `kernel`"),
        (
            json!({ "kind": "conv", "out": 3, "kernel": 3, "strde": 2 }),
            "strde",
            "unknown field `strde`, expected one of `out`",
        ),
        (json!({ "kind": "conv", "kernel": 3, "out": "many" }), "out", "`out`: invalid type: string \"many\""),
        (
            json!({ "kind": "conv", "out": 3, "kernel": [1, 2, 3] }),
            "kernel",
            "`kernel`: expected a whole number or a pair of them",
        ),
        (json!({ "kind": "conv", "out": -1, "kernel": 3 }), "out", "`out`: invalid value: integer `-1`"),
        (
            json!({ "kind": "linear", "out": 3, "init": { "kind": "normal", "mean": 0 } }),
            "init",
            "`init`: missing field `std`",
        ),
        (json!({ "kind": "relu", "slope": 0.1 }), "slope", "unknown field `slope`, relu has no settings"),
        (json!({ "kind": "add", "of": 2 }), "of", "unknown field `of`, add has no settings"),
        (json!({ "kind": "resize", "size": 2, "filter": "cubic" }), "filter", "`filter`: unknown variant `cubic`"),
    ];
    for (table, key, wanted) in cases {
        let error = LayerKind::read(table.as_object().unwrap()).expect_err("refused");
        assert_eq!(error.key, key, "{error:?}");
        assert!(error.message.starts_with(wanted), "{error:?}");
    }
}

#[test]
fn params_of_layers_have_pytorchs_names_and_shapes() {
    let of = |table: Value, input: &[usize]| -> Vec<String> {
        let specs = kind(&table).params(&Meta::new(input, DType::F32)).unwrap();
        specs.into_iter().map(|spec| format!("{} {:?}", spec.suffix, spec.shape)).collect()
    };
    let map = [2, 4, 5, 6];
    assert_eq!(
        of(json!({ "kind": "conv", "out": 6, "kernel": [3, 1], "groups": 2 }), &map),
        ["weight [6, 2, 3, 1]", "bias [6]"]
    );
    assert_eq!(of(json!({ "kind": "conv", "out": 6, "kernel": 1, "bias": false }), &map), ["weight [6, 4, 1, 1]"]);
    assert_eq!(
        of(json!({ "kind": "conv_transpose", "out": 6, "kernel": 2, "groups": 2 }), &map),
        ["weight [4, 3, 2, 2]", "bias [6]"]
    );
    assert_eq!(of(json!({ "kind": "linear", "out": 3 }), &map), ["weight [3, 6]", "bias [3]"]);
    let norm = ["weight [4]", "bias [4]", "running_mean [4]", "running_var [4]"];
    assert_eq!(of(json!({ "kind": "batch_norm" }), &map), norm);
    assert_eq!(of(json!({ "kind": "layer_norm" }), &map), ["weight [4, 5, 6]", "bias [4, 5, 6]"]);
    assert_eq!(of(json!({ "kind": "layer_norm", "dims": 1 }), &map), ["weight [6]", "bias [6]"]);
    assert!(of(json!({ "kind": "relu" }), &map).is_empty());
    let rows = |of: usize| {
        let all = 3 * of;
        [format!("weight_ih [{all}, 5]"), format!("weight_hh [{all}, {of}]")]
            .into_iter()
            .chain(["ih", "hh"].map(|which| format!("bias_{which} [{all}]")))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(json!({ "kind": "gru", "hidden": 4 }), &[2, 5]), rows(4));
    assert_eq!(of(json!({ "kind": "lstm", "hidden": 3 }), &[2, 5]), {
        let gates = ["weight_ih [12, 5]", "weight_hh [12, 3]", "bias_ih [12]", "bias_hh [12]"];
        gates.map(str::to_owned).to_vec()
    });
    let cell = json!({ "kind": "conv_lstm", "hidden": 3, "kernel": [3, 5] });
    assert_eq!(of(cell, &map), ["weight [12, 7, 3, 5]", "bias [12]"]);
}
