//! The `entrepot` command: see `entrepot::cli`.

fn main() -> std::process::ExitCode {
    entrepot::cli::run()
}
