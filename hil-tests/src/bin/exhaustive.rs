//! `exhaustive`: explores every history within the bounds of each model.
//!
//! Exit codes: 0 every model exhausted and nothing broken, or with `--broken` each broken rule noticed; 1
//! otherwise; 2 wrong usage.

use std::process::ExitCode;

use clap::Parser;
#[cfg(feature = "mutants")]
use hb_proto::mutant::Mutant;
use hil_tests::exhaustive::bounds::Bounds;
use hil_tests::exhaustive::catalogue;
use hil_tests::exhaustive::run::explore;

#[derive(Parser)]
#[command(name = "exhaustive", about = "Explores every history within bounds")]
struct Options {
    /// Only the models that the tests explore
    #[arg(long)]
    small: bool,
    /// Say which models there are
    #[arg(long)]
    list: bool,
    /// Break this rule (`all`: one after the other) until a model notices
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "RULE")]
    broken: Option<String>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only models with one of these in their names
    models: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    #[cfg(feature = "mutants")]
    if let Some(name) = &options.broken {
        return broken(name, &options);
    }
    let all = if options.small { catalogue::small() } else { catalogue::all() };
    let Some(models) = wanted(all, &options) else { return ExitCode::from(2) };
    let mut sound = true;
    for model in models {
        if options.list {
            println!("{}", model.name);
            continue;
        }
        let found = explore(&model, options.threads);
        print!("{found}");
        sound &= found.exhausted;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wanted(all: Vec<Bounds>, options: &Options) -> Option<Vec<Bounds>> {
    let names: Vec<_> = all.iter().map(|model| model.name.clone()).collect();
    let wanted = |model: &Bounds| {
        options.models.is_empty() || options.models.iter().any(|word| model.name.contains(word))
    };
    let models: Vec<_> = all.into_iter().filter(wanted).collect();
    if models.is_empty() {
        eprintln!("exhaustive: no such model; there are: {}", names.join("; "));
        return None;
    }
    Some(models)
}

/// Breaks rules until a model notices; what it saw.
#[cfg(feature = "mutants")]
fn broken(name: &str, options: &Options) -> ExitCode {
    let knobs = match (name, catalogue::broken::knob(name)) {
        ("all", _) => Mutant::ALL.to_vec(),
        (_, Some(knob)) => vec![knob],
        _ => {
            eprintln!("exhaustive: no knob {name:?}; there are: {:?}", Mutant::ALL);
            return ExitCode::from(2);
        }
    };
    let Some(models) = wanted(catalogue::broken::models(), options) else {
        return ExitCode::from(2);
    };
    let mut unnoticed = false;
    for knob in knobs {
        let seen = models.iter().find_map(|model| {
            let model = Bounds { broken: Some(knob), ..model.clone() };
            let found = explore(&model, options.threads);
            (!found.broken.is_empty()).then_some(found)
        });
        match seen {
            Some(found) => println!("{knob:?}: {found}"),
            None => {
                unnoticed = true;
                println!("{knob:?}: not noticed");
            }
        }
    }
    if unnoticed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
