//! Command lines of the form `--name VALUE`.

use std::collections::HashMap;
use std::process::exit;

#[derive(Debug)]
pub struct Options {
    help: &'static str,
    given: HashMap<String, String>,
}

impl Options {
    /// Reads the command line; `--help` prints `help` and exits.
    pub fn new(help: &'static str) -> Options {
        let mut given = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some("help") => {
                    print!("{help}");
                    exit(0);
                }
                Some(name) => match words.next() {
                    Some(value) => given.insert(name.to_owned(), value),
                    None => wrong(&format!("--{name} wants a value")),
                },
                None => wrong(&format!("{word} is no option")),
            };
        }
        Options { help, given }
    }

    pub fn text(&mut self, name: &str, default: &str) -> String {
        assert!(
            self.help.contains(&format!("--{name} ")),
            "{name} is undocumented"
        );
        self.given
            .remove(name)
            .unwrap_or_else(|| default.to_owned())
    }

    pub fn number(&mut self, name: &str, default: u64) -> u64 {
        self.text(name, &default.to_string())
            .parse()
            .unwrap_or_else(|_| wrong(&format!("--{name} wants a number")))
    }

    /// All options have been asked for; what is left is unknown.
    pub fn done(self) {
        if let Some(name) = self.given.keys().next() {
            wrong(&format!("unknown option --{name}"));
        }
    }
}

fn wrong(reason: &str) -> ! {
    eprintln!("{reason}; see --help");
    exit(2);
}
