//! Every kind of value.

use super::tests::{changed, read, term};
use super::*;

/// The term `task` with a weight.
fn weight(text: &str) -> Weight {
    let (manifest, _) = read(&changed("'ce'", &format!("'ce'\nterms.task.weight = {text}")));
    term(&manifest, "task").weight.clone()
}

/// The stage with a schedule.
fn schedule(text: &str) -> Schedule {
    let (manifest, _) = read(&changed("epochs = 2", &format!("epochs = 2\nschedule = {text}")));
    manifest.stage["one"].schedule.clone()
}

fn optimizer(text: &str) -> Optimizer {
    read(&changed("{ kind = 'sgd', lr = 0.1 }", text)).0.stage["one"].optimizer
}

#[test]
fn duration_text_is_parsed() {
    assert_eq!("10 epochs".parse(), Ok(Duration::Epochs(10.0)));
    assert_eq!("1 epoch".parse(), Ok(Duration::Epochs(1.0)));
    assert_eq!("0.5 epochs".parse(), Ok(Duration::Epochs(0.5)));
    assert_eq!(" 500  steps ".parse(), Ok(Duration::Steps(500)));
    for wrong in ["10", "epochs", "-1 epochs", "inf epochs", "1.5 steps", "3 weeks", ""] {
        assert!(wrong.parse::<Duration>().is_err(), "{wrong}");
    }
}

#[test]
fn duration_display_is_what_it_parses() {
    for duration in [Duration::Epochs(1.0), Duration::Epochs(2.5), Duration::Steps(1), Duration::Steps(500)] {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
}

#[test]
fn duration_steps_counts_epochs_by_their_length() {
    assert_eq!(Duration::Epochs(2.5).steps(10), 25.0);
    assert_eq!(Duration::Steps(7).steps(10), 7.0);
}

#[test]
fn weight_constant_stays() {
    let weight = weight("0.9");
    assert_eq!((weight.at(0, 10), weight.at(1000, 10)), (0.9, 0.9));
    assert!(!weight.is_always_zero());
}

#[test]
fn weight_ramp_goes_from_one_value_to_the_other() {
    let weight = weight("{ from = 100, to = 0, over = '10 epochs', after = '20 steps' }");
    let at = |step| weight.at(step, 10);
    assert_eq!([at(0), at(20), at(45), at(70), at(120), at(999)], [100.0, 100.0, 75.0, 50.0, 0.0, 0.0]);
}

#[test]
fn weight_ramp_over_bare_number_counts_epochs() {
    let weight = weight("{ from = 0, to = 1, over = 4 }");
    assert_eq!([weight.at(0, 10), weight.at(10, 10), weight.at(40, 10)], [0.0, 0.25, 1.0]);
}

#[test]
fn weight_points_are_joined_by_lines() {
    let weight = weight("{ points = [['1 epoch', 0.0], ['3 epochs', 1.0], ['50 steps', 0.5]] }");
    let at = |step| weight.at(step, 10);
    assert_eq!([at(0), at(10), at(20), at(30), at(40), at(50), at(99)], [0.0, 0.0, 0.5, 1.0, 0.75, 0.5, 0.5]);
}

#[test]
fn weight_zero_throughout_is_always_zero() {
    for text in ["0", "0.0", "{ from = 0, to = 0, over = 1 }", "{ points = [[0, 0], [1, 0]] }"] {
        assert!(weight(text).is_always_zero(), "{text}");
    }
    for text in ["{ from = 1, to = 0, over = 1 }", "{ points = [[0, 0], [1, 1]] }"] {
        assert!(!weight(text).is_always_zero(), "{text}");
    }
}

#[test]
fn schedule_constant_warms_up_linearly() {
    let schedule = schedule("{ kind = 'constant', warmup = '4 steps' }");
    let factors: Vec<f64> = (0..6).map(|step| schedule.factor(step, 100, 10)).collect();
    assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
}

#[test]
fn schedule_step_multiplies_at_each_time() {
    let schedule = schedule("{ kind = 'step', at = ['1 epoch', 2, '25 steps'], factor = 0.5 }");
    let factors: Vec<f64> = [0, 9, 10, 19, 20, 25].into_iter().map(|step| schedule.factor(step, 100, 10)).collect();
    assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]);
}

#[test]
fn schedule_cosine_ends_at_its_final_factor() {
    let schedule = schedule("{ kind = 'cosine', final_factor = 0.1, warmup = '1 epoch' }");
    let factor = |step| schedule.factor(step, 110, 10);
    assert_eq!(factor(10), 1.0);
    assert!((factor(60) - 0.55).abs() < 1e-12);
    assert!((factor(110) - 0.1).abs() < 1e-12);
    assert!((factor(200) - 0.1).abs() < 1e-12);
}

#[test]
fn optimizer_kinds_take_their_defaults() {
    let sgd = Optimizer::Sgd { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false, decay_norm_and_bias: true };
    assert_eq!(optimizer("{ kind = 'sgd', lr = 0.1 }"), sgd);
    let (lr, betas, eps) = (1.0, [0.9, 0.999], 1e-8);
    let adam = Optimizer::Adam { lr, betas, eps, weight_decay: 0.0, decay_norm_and_bias: true };
    assert_eq!(optimizer("{ kind = 'adam', lr = 1 }"), adam);
    let adamw = Optimizer::AdamW { lr, betas, eps, weight_decay: 0.01, decay_norm_and_bias: false };
    assert_eq!(optimizer("{ kind = 'adamw', lr = 1, decay_norm_and_bias = false }"), adamw);
}

#[test]
fn optimizer_scaled_changes_its_rate_alone() {
    let scaled = optimizer("{ kind = 'sgd', lr = 0.5, momentum = 0.9 }").scaled(0.5);
    assert_eq!(scaled, optimizer("{ kind = 'sgd', lr = 0.25, momentum = 0.9 }"));
    assert_eq!(scaled.lr(), 0.25);
}

#[test]
fn size_number_is_a_square() {
    let (manifest, _) = read(&changed("'mlp'", "'mlp'\nmodels.s.input = { size = 32, mean = [0.1, 0.2], std = 2 }"));
    let input = manifest.models["s"].input.clone().unwrap();
    assert_eq!(input.size, Some(Size { height: 32, width: 32 }));
    assert_eq!((&*input.mean.unwrap(), &*input.std.unwrap()), ([0.1, 0.2].as_slice(), [2.0].as_slice()));
}

#[test]
fn connector_forms_make_a_chain() {
    let chain = |text: &str| {
        let (manifest, _) = read(&changed("'ce'", &format!("'ce'\nterms.task.connector = {text}")));
        term(&manifest, "task").connector.iter().map(|part| (part.use_.clone(), part.config.len())).collect::<Vec<_>>()
    };
    assert_eq!(chain("'conv'"), [("conv".to_owned(), 0)]);
    assert_eq!(chain("{ use = 'conv', kernel = 3 }"), [("conv".to_owned(), 1)]);
    assert_eq!(chain("['pool', { use = 'conv', kernel = 3 }]"), [("pool".to_owned(), 0), ("conv".to_owned(), 1)]);
}

#[test]
fn layers_keep_their_own_options() {
    let (manifest, _) = read(&changed(
        "models.s.arch = 'mlp'",
        "[[models.s.layers]]\nname = 'a'\nkind = 'conv'\nchannels = 8\n[[models.s.layers]]\nname = 'b'\nkind = 'add'\nfrom = ['a', 'input']",
    ));
    let layers = manifest.models["s"].layers.as_ref().unwrap();
    assert_eq!(layers[0].options["channels"], 8);
    assert_eq!(layers[0].from, None);
    assert_eq!(&**layers[1].from.as_ref().unwrap(), ["a", "input"]);
}

#[test]
fn arch_name_and_table_are_read() {
    let arch = |text: &str| read(&changed("'mlp'", text)).0.models["s"].arch.clone().unwrap();
    assert_eq!(arch("'resnet20'"), Arch { kind: "resnet20".to_owned(), options: Config::new() });
    let resnet = arch("{ kind = 'resnet', depth = 20, width = [16, 32] }");
    assert_eq!((resnet.kind.as_str(), resnet.options.len()), ("resnet", 2));
}

#[test]
fn origin_text_is_parsed() {
    let stage = |name: &str, prefix: &str| Origin::Stage { name: name.to_owned(), prefix: prefix.to_owned() };
    assert_eq!("stage:s1:encoder.".parse(), Ok(stage("s1", "encoder.")));
    assert_eq!("stage:s1".parse(), Ok(stage("s1", "")));
    assert_eq!("model:t:a.b".parse(), Ok(Origin::Model { name: "t".to_owned(), prefix: "a.b".to_owned() }));
    assert!("file.safetensors".parse::<Origin>().is_err());
}

#[test]
fn path_display_quotes_what_is_no_bare_key() {
    let path = ManifestPath::of(["stage", "a b", "terms"]).index(2);
    assert_eq!(path.to_string(), "stage.\"a b\".terms[2]");
    assert_eq!(path.tail().to_string(), "terms[2]");
    assert_eq!(ManifestPath::parse("stage.\"a b\".terms"), Ok(ManifestPath::of(["stage", "a b", "terms"])));
    assert!(ManifestPath::parse("stage..terms").is_err());
}
