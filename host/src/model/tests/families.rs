//! Families beside their sources: counts, names, sizes, refusals.

use super::{build_short, cifar, frame, network, table};
use crate::graph::{Graph, Source};
use crate::ops::ParamKind;
use serde_json::{Value, json};
use stillhouse_plugin::op::{DType, Meta};

/// Shapes of all points with a batch of two in front, and names and lengths of all trained parameters: nothing is allocated.
fn outline(graph: &Graph) -> (Vec<Vec<usize>>, Vec<(String, usize)>) {
    let input: Vec<usize> = std::iter::once(2).chain(graph.input.iter().copied()).collect();
    let (mut metas, mut parameters): (Vec<Meta>, Vec<_>) = (vec![], vec![]);
    for layer in &graph.layers {
        let of =
            |source: &Source| source.layer().map_or_else(|| Meta::new(&input[..], DType::F32), |at| metas[at].clone());
        let inputs: Vec<Meta> = layer.inputs.iter().map(of).collect();
        let specs = layer.kind.params(&inputs[0]).unwrap_or_else(|error| panic!("{}: {error}", layer.path));
        for spec in specs.iter().filter(|spec| spec.kind == ParamKind::Parameter) {
            assert!(layer.kind.suffixes().contains(&spec.suffix), "{} of {:?}", spec.suffix, layer.kind);
            let name = crate::graph::parameter_name(&layer.path, spec.suffix);
            parameters.push((name, spec.shape.iter().product()));
        }
        metas.push(layer.kind.infer(&inputs.iter().collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error}")));
    }
    (metas.into_iter().map(|meta| meta.shape[1..].to_vec()).collect(), parameters)
}

fn count(graph: &Graph) -> usize {
    outline(graph).1.iter().map(|(_, len)| len).sum()
}

/// 1000 classes at 224 pixels: the documentation of torchvision's weights (`num_params`), timm's table of results for
/// `tf_efficientnet_lite0`, and the table of facebookresearch/deit for the sizes of DeiT (5.7 and 22.1 million).
#[test]
fn parameter_counts_for_large_images_equal_the_published_ones() {
    let cases = [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("mobilenet_v2", 3_504_872),
        ("shufflenet_v2_x0_5", 1_366_792),
        ("shufflenet_v2_x1_0", 2_278_604),
        ("shufflenet_v2_x1_5", 3_503_624),
        ("shufflenet_v2_x2_0", 7_393_996),
        ("efficientnet_lite0", 4_652_008),
        ("vit_ti_16", 5_717_416),
        ("vit_s_16", 22_050_664),
        ("vit_b_16", 86_567_656),
    ];
    for (name, wanted) in cases {
        let graph = build_short(name, &frame(&[3, 224, 224], 1000)).expect(name);
        assert_eq!((count(&graph), graph.name.as_str()), (wanted, name), "{name}");
        assert_eq!(outline(&graph).0[graph.output], [1000], "{name}");
    }
}

/// 100 classes at 32 pixels: HobbitLong/RepDistiller, models/{wrn,resnetv2,mobilenetv2,ShuffleNetv1,ShuffleNetv2}.py; one class
/// for milesial/Pytorch-UNet, 31.0 and 17.3 million.
#[test]
fn parameter_counts_for_small_images_equal_the_reference() {
    let cases = [
        ("wrn_16_2", 703_284),
        ("wrn_40_1", 569_780),
        ("wrn_40_2", 2_255_156),
        ("ResNet18", 11_220_132),
        ("ResNet50", 23_705_252),
        ("MobileNetV2", 812_836),
        ("ShuffleV1", 949_258),
        ("ShuffleV2", 1_355_528),
    ];
    for (name, wanted) in cases {
        let graph = build_short(name, &cifar()).expect(name);
        assert_eq!(count(&graph), wanted, "{name}");
        assert_eq!(outline(&graph).0[graph.output], [100], "{name}");
    }
    for (up, wanted) in [("transposed", 31_037_633), ("bilinear", 17_262_977), ("nearest", 17_262_977)] {
        let graph = table("unet", json!({ "up": up }), &frame(&[3, 64, 64], 1)).expect(up);
        assert_eq!(count(&graph), wanted, "{up}");
        assert_eq!(outline(&graph).0[graph.output], [1, 64, 64], "{up}");
    }
}

#[test]
fn parameter_names_are_those_of_the_sources() {
    let cases: [(&str, &[&str]); 11] = [
        ("resnet18", &["conv1.weight", "bn1.bias", "layer2.0.downsample.0.weight", "layer4.1.bn2.weight", "fc.bias"]),
        ("ResNet50", &["layer1.0.shortcut.1.bias", "layer1.0.conv3.weight", "layer3.5.bn3.weight", "linear.weight"]),
        ("wrn_16_2", &["block1.layer.0.convShortcut.weight", "block3.layer.1.bn2.bias", "bn1.weight", "fc.bias"]),
        (
            "mobilenet_v2",
            &[
                "features.0.0.weight",
                "features.1.conv.0.1.bias",
                "features.1.conv.1.weight",
                "features.2.conv.2.weight",
                "features.17.conv.3.bias",
                "features.18.1.weight",
                "classifier.1.weight",
            ],
        ),
        (
            "MobileNetV2",
            &[
                "conv1.0.weight",
                "blocks.0.0.conv.7.bias",
                "blocks.6.0.conv.6.weight",
                "conv2.1.bias",
                "classifier.0.bias",
            ],
        ),
        ("ShuffleV1", &["conv1.weight", "layer1.0.conv3.weight", "layer3.3.bn3.bias", "linear.weight"]),
        (
            "ShuffleV2",
            &["layer1.0.conv5.weight", "layer1.0.bn5.bias", "layer2.7.conv3.weight", "conv2.weight", "bn2.bias"],
        ),
        (
            "shufflenet_v2_x1_0",
            &[
                "conv1.0.weight",
                "stage2.0.branch1.2.weight",
                "stage2.0.branch1.3.bias",
                "stage2.0.branch2.6.weight",
                "stage3.7.branch2.5.weight",
                "conv5.1.bias",
                "fc.weight",
            ],
        ),
        (
            "efficientnet_lite0",
            &[
                "conv_stem.weight",
                "blocks.0.0.conv_pw.weight",
                "blocks.0.0.bn2.bias",
                "blocks.5.3.conv_pwl.weight",
                "blocks.6.0.bn3.bias",
                "conv_head.weight",
                "bn2.weight",
                "classifier.bias",
            ],
        ),
        (
            "vit_ti_4",
            &[
                "class_token",
                "conv_proj.bias",
                "encoder.pos_embedding",
                "encoder.layers.encoder_layer_11.self_attention.in_proj_weight",
                "encoder.layers.encoder_layer_0.self_attention.out_proj.bias",
                "encoder.layers.encoder_layer_0.mlp.3.weight",
                "encoder.ln.bias",
                "heads.head.weight",
            ],
        ),
        (
            "unet",
            &[
                "inc.double_conv.4.bias",
                "down4.maxpool_conv.1.double_conv.0.weight",
                "up1.up.bias",
                "up4.conv.double_conv.3.weight",
                "outc.conv.bias",
            ],
        ),
    ];
    for (name, wanted) in cases {
        let (_, found) = outline(&build_short(name, &cifar()).expect(name));
        for parameter in wanted {
            assert!(found.iter().any(|(known, _)| known == parameter), "{name} has no `{parameter}`: {found:?}");
        }
    }
}

/// Sizes of the groups as in the papers' tables.
#[test]
fn taps_of_the_larger_families_have_the_sizes_of_their_papers() {
    let size = |name: &str, side: usize, tap: &str| -> Vec<usize> {
        let graph = build_short(name, &frame(&[3, side, side], 10)).expect(name);
        let at = graph.tap(tap).and_then(|point| point.layer()).unwrap_or_else(|| panic!("{name}: no `{tap}`"));
        outline(&graph).0[at].clone()
    };
    let cases: [(&str, usize, &str, &[usize]); 16] = [
        ("resnet50", 224, "layer1", &[256, 56, 56]),
        ("resnet50", 224, "layer4", &[2048, 7, 7]),
        ("ResNet50", 32, "layer4", &[2048, 4, 4]),
        ("wrn_40_2", 32, "block3", &[128, 8, 8]),
        ("mobilenet_v2", 224, "features.3", &[24, 56, 56]),
        ("mobilenet_v2", 224, "features.18", &[1280, 7, 7]),
        ("MobileNetV2", 32, "blocks.1", &[12, 16, 16]),
        ("MobileNetV2", 32, "blocks.6", &[160, 2, 2]),
        ("ShuffleV1", 32, "layer3", &[960, 4, 4]),
        ("ShuffleV2", 32, "layer3", &[464, 4, 4]),
        ("shufflenet_v2_x1_0", 224, "stage2", &[116, 28, 28]),
        ("shufflenet_v2_x1_0", 224, "stage4", &[464, 7, 7]),
        ("efficientnet_lite0", 224, "blocks.2", &[40, 28, 28]),
        ("efficientnet_lite0", 224, "blocks.6", &[320, 7, 7]),
        ("vit_b_16", 224, "encoder", &[197, 768]),
        ("unet", 64, "down4", &[1024, 4, 4]),
    ];
    cases.iter().for_each(|(name, side, tap, wanted)| assert_eq!(size(name, *side, tap), *wanted, "{name} `{tap}`"));
}

/// Small settings of each family.
pub(crate) fn small() -> Vec<(&'static str, Value)> {
    vec![
        ("resnet_imagenet", json!({ "depth": 18, "width": 4 })),
        ("resnet_imagenet", json!({ "depth": 50, "width": 2, "images": "small" })),
        ("wrn", json!({ "depth": 10, "dropout": 0.2 })),
        ("mobilenet_v2", json!({ "width": 0.2 })),
        ("mobilenet_v2", json!({ "width": 0.2, "images": "small", "expand": 2 })),
        ("shufflenet_v1", json!({ "channels": [48, 96, 192], "units": [2, 1, 2] })),
        ("shufflenet_v2", json!({ "channels": [8, 12, 20, 16], "units": [2, 1, 2] })),
        ("shufflenet_v2", json!({ "channels": [8, 12, 20, 16], "units": [2, 2, 1], "images": "small" })),
        ("efficientnet_lite", json!({ "width": 0.25, "depth": 0.5 })),
        ("unet", json!({ "width": 3, "depth": 2 })),
        ("unet", json!({ "width": 4, "depth": 2, "up": "bilinear" })),
        ("unet", json!({ "width": 4, "depth": 1, "up": "nearest" })),
        ("two_stream", json!({ "width": 4, "frames": 1, "branches": ["spatial"], "sigmoid": true })),
    ]
}

#[test]
fn larger_families_take_any_size_and_channels() {
    for input in [[1, 28, 28], [1, 8, 8], [3, 33, 47], [2, 5, 4]] {
        for (kind, settings) in small() {
            let graph = table(kind, settings.clone(), &frame(&input, 10));
            let net = network(graph.unwrap_or_else(|error| panic!("{kind} {settings} {input:?}: {error:?}")));
            let is_map = matches!(kind, "unet" | "two_stream");
            let wanted = if is_map { vec![10, input[1], input[2]] } else { vec![10] };
            assert_eq!(net.shapes.last(), Some(&wanted), "{kind} {settings} {input:?}");
            assert_eq!(net.fallbacks(), [""; 0], "{kind} {settings}");
        }
    }
    let settings = json!({ "patch": 4, "width": 6, "depth": 2, "heads": 3, "dropout": 0.1 });
    let net = network(table("vit", settings, &frame(&[2, 8, 12], 10)).unwrap());
    assert_eq!(net.shapes.last(), Some(&vec![10]));
    assert_eq!(net.fallbacks(), [""; 0]);
}

/// Parameters of the sources: thuml/transferable-memory's source network for frames of one channel; PyTorch's cells.
#[test]
fn recurrent_families_have_the_sources_names_and_sizes() {
    let graph = build_short("conv_lstm", &frame(&[1, 64, 64], 10)).expect("builds");
    let (shapes, parameters) = outline(&graph);
    assert_eq!(shapes[graph.output], [1, 64, 64]);
    let wanted = [
        ("cell_list.0.conv.0.weight", 256 * 80 * 25),
        ("cell_list.0.conv.0.bias", 256),
        ("cell_list.3.conv.0.weight", 256 * 128 * 25),
        ("conv_last.weight", 16 * 64),
    ];
    wanted.iter().for_each(|(name, len)| assert!(parameters.contains(&((*name).to_owned(), *len)), "{name}"));
    assert_eq!(parameters.len(), 9);
    let at = graph.tap("cell_list.1").and_then(|point| point.layer()).expect("a group");
    assert_eq!(shapes[at], [64, 16, 16]);
    assert!(graph.tap("cell_list.1.cell").is_some() && graph.tap("cell_list.1.conv.0.cell").is_some());
    let whole = table("conv_lstm", json!({ "patch": 1, "depth": 1, "hidden": 3 }), &frame(&[2, 5, 7], 10)).unwrap();
    assert_eq!((whole.layers.len(), outline(&whole).0[1].clone()), (2, vec![2, 5, 7]));
    for (name, gates) in [("lstm", 4), ("gru", 3)] {
        let graph = build_short(name, &frame(&[3, 4], 10)).expect(name);
        let cell = gates * 128 * (12 + 128 + 2);
        assert_eq!((count(&graph), outline(&graph).0[graph.output].clone()), (cell + 1290, vec![10]), "{name}");
        assert!(outline(&graph).1.iter().any(|(known, _)| known == "cells.0.weight_hh"));
        assert_eq!(network(graph).fallbacks(), [""; 0], "{name}");
    }
    assert_eq!(network(build_short("conv_lstm", &cifar()).unwrap()).fallbacks(), [""; 0]);
}

/// An encoder is 3x3 convolutions of 1, 1, 2, 4, 4 and 8 widths with normalisation; what the decoder has does not depend on the
/// input.
#[test]
fn two_streams_have_an_encoder_each_and_one_decoder() {
    let encoder = |channels: usize| {
        let outs = [16, 16, 32, 64, 64, 128];
        let convolutions: usize = [channels, 16, 16, 32, 64, 64].iter().zip(outs).map(|(from, to)| 9 * from * to).sum();
        convolutions + 2 * outs.iter().sum::<usize>()
    };
    let decoder = |joined: usize| {
        let square = 32 * joined + 9 * (32 * 32 + 32 * 32 + 32 * 16) + 2 * (3 * 32 + 16);
        square + 16 * (16 * 8 + 8) + 2 * 8 + 1
    };
    let of = |settings: Value| table("two_stream", settings, &frame(&[2, 24, 17], 1)).expect("builds");
    let cases = [
        (json!({}), encoder(1) + encoder(2) + decoder(256)),
        (json!({ "branches": ["spatial"] }), encoder(1) + decoder(128)),
        (json!({ "branches": ["temporal"] }), encoder(2) + decoder(128)),
        (json!({ "frames": 1, "branches": ["spatial"] }), encoder(2) + decoder(128)),
    ];
    for (settings, wanted) in cases {
        let graph = of(settings.clone());
        assert_eq!((count(&graph), outline(&graph).0[graph.output].clone()), (wanted, vec![1, 24, 17]), "{settings}");
        assert_eq!(network(graph).fallbacks(), [""; 0], "{settings}");
    }
    let graph = of(json!({}));
    for (tap, shape) in [("spatial", [128, 6, 4]), ("temporal", [128, 6, 4]), ("spatial.frame", [1, 24, 17])] {
        let at = graph.tap(tap).and_then(|point| point.layer()).expect(tap);
        assert_eq!(outline(&graph).0[at], shape, "{tap}");
    }
}

#[test]
fn larger_family_that_cannot_be_is_error_with_its_key() {
    let cases = [
        (table("resnet_imagenet", json!({ "depth": 20 }), &cifar()), "18, 34, 50, 101 or 152, got 20", "depth"),
        (build_short("wrn_12_2", &cifar()), "6 n + 4 with n from 1, got 12", "depth"),
        (build_short("wrn_16_0", &cifar()), "channels must be 1 or more", "factor"),
        (table("mobilenet_v2", json!({ "width": 0.0 }), &cifar()), "`width` must be 1/16 or more, got 0", "width"),
        (table("mobilenet_v2", json!({ "images": "huge" }), &cifar()), "unknown variant `huge`", "images"),
        (table("shufflenet_v1", json!({ "channels": [24, 48, 96] }), &cifar()), "grow from more than 24", "channels"),
        (table("shufflenet_v1", json!({ "channels": [25, 48, 96] }), &cifar()), "layer `layer1.0.conv1`: ", ""),
        (table("shufflenet_v2", json!({ "channels": [8, 9, 8, 8] }), &cifar()), "must be even", "channels"),
        (table("efficientnet_lite", json!({ "depth": -1.0 }), &cifar()), "`depth` must be above 0, got -1", "depth"),
        (build_short("vit_ti_5", &cifar()), "images of 32x32 do not divide into patches of 5", "patch"),
        (build_short("vit_ti_0", &cifar()), "`patch` must be 1 or more, got 0", "patch"),
        (
            table("vit", json!({ "patch": 4, "width": 8, "depth": 1, "heads": 3 }), &cifar()),
            "8 features do not divide into 3 heads",
            "heads",
        ),
        (table("unet", json!({ "depth": 6 }), &cifar()), "images of 32x32 cannot be halved 6 times", "depth"),
        (table("conv_lstm", json!({ "depth": 0 }), &cifar()), "`depth` must be 1 or more, got 0", "depth"),
        (table("conv_lstm", json!({ "hidden": 0 }), &cifar()), "`hidden` must be 1 or more, got 0", "hidden"),
        (table("conv_lstm", json!({ "kernel": 4 }), &cifar()), "`kernel` must be odd", "kernel"),
        (table("conv_lstm", json!({ "kernel": 0 }), &cifar()), "`kernel` must be 1 or more, got 0", "kernel"),
        (table("conv_lstm", json!({ "patch": 0 }), &cifar()), "`patch` must be 1 or more, got 0", "patch"),
        (table("conv_lstm", json!({ "patch": 5 }), &cifar()), "32x32 do not divide into patches of 5x5", "patch"),
        (table("conv_lstm", json!({ "width": 4 }), &cifar()), "unknown field `width`", "width"),
        (build_short("conv_lstm", &frame(&[64], 10)), "`conv_lstm` wants images [C, H, W], the data has [64]", ""),
        (table("lstm", json!({ "depth": 0 }), &cifar()), "`depth` must be 1 or more, got 0", "depth"),
        (table("lstm", json!({ "hidden": 0 }), &cifar()), "`hidden` must be 1 or more, got 0", "hidden"),
        (table("lstm", json!({ "cell": "rnn" }), &cifar()), "unknown variant `rnn`", "cell"),
        (table("two_stream", json!({ "width": 1 }), &cifar()), "`width` must be 2 or more, got 1", "width"),
        (build_short("two_stream", &cifar()), "3 channels are not 2 frames side by side", "frames"),
        (table("two_stream", json!({ "frames": 1 }), &cifar()), "wants 2 frames or more", "frames"),
        (table("two_stream", json!({ "frames": 3, "branches": [] }), &cifar()), "each once", "branches"),
        (table("two_stream", json!({ "branches": ["optical"] }), &cifar()), "unknown variant `optical`", "branches[0]"),
        (build_short("two_stream", &frame(&[2, 3, 9], 1)), "images of 3x9 cannot be halved 2 times", ""),
        (build_short("unet", &frame(&[64], 10)), "`unet` wants images [C, H, W], the data has [64]", ""),
    ];
    for (result, message, key) in cases {
        let error = result.expect_err(message);
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(error.key.as_deref().unwrap_or_default(), key, "{error:?}");
    }
}
