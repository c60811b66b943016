use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((word, rest)) => match word.as_str() {
            "rig-init" => hb_linux::rig::init::main(rest),
            "rig-run" => hb_linux::rig::run::main(rest),
            "rig-enter" => hb_linux::rig::run::enter_main(rest),
            "rig-web" => hb_linux::rig::web::main(rest),
            "demo" => {
                let sabotage = match rest {
                    [flag, word] if flag == "--sabotage" => {
                        hb_linux::rig::demo::Sabotage::parse(word).ok()
                    }
                    _ => None,
                };
                let options = hb_linux::rig::demo::Options { sabotage, ..Default::default() };
                hb_linux::rig::demo::main(&options)
            }
            other => {
                eprintln!("hb: {other}: unknown");
                ExitCode::from(2)
            }
        },
        None => ExitCode::from(2),
    }
}
