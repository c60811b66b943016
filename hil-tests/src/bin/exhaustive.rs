//! `exhaustive`: explores every history within the bounds of each model.
//!
//! Exit codes: 0 every model exhausted and nothing broken; 1 something is broken (with `--broken`: nothing
//! was); 2 wrong usage.

use std::process::ExitCode;

use clap::Parser;
use hil_tests::exhaustive::bounds::Bounds;
use hil_tests::exhaustive::catalogue;
use hil_tests::exhaustive::run::explore;

#[derive(Parser)]
#[command(name = "exhaustive", about = "Explores every history within bounds")]
struct Options {
    /// Only the models that the tests explore
    #[arg(long)]
    small: bool,
    /// Only models with one of these in their names
    models: Vec<String>,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let all = if options.small { catalogue::small() } else { catalogue::all() };
    let wanted = |model: &&Bounds| {
        options.models.is_empty() || options.models.iter().any(|word| model.name.contains(word))
    };
    let models: Vec<_> = all.iter().filter(wanted).collect();
    if models.is_empty() {
        let names: Vec<_> = all.iter().map(|model| model.name.as_str()).collect();
        eprintln!("exhaustive: no such model; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut sound = true;
    for model in models {
        let found = explore(model, options.threads);
        print!("{found}");
        sound &= found.exhausted;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
