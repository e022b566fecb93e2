//! The `entrepot` command. `entrepot::cli` does the work.

fn main() -> std::process::ExitCode {
    entrepot::cli::run()
}
