//! The report in docs/measured/LINK.md.

use crate::Cell;
use crate::contestant::Who;
use crate::distribution::Distribution;
use crate::row::Row;
use crate::scenarios::Scenario;

/// Returns the table of the requirements that Entrepot must meet, with their measurements.
pub fn requirements(cells: &[Cell]) -> String {
    let rows = cells.iter().flat_map(|cell| &cell.rows).flat_map(|row| &row.requirements);
    let lines = rows.map(|requirement| {
        let met = if requirement.met { "yes" } else { "**no**" };
        format!("| {} | {} | {} | {met} |\n", requirement.what, requirement.wanted, requirement.measured)
    });
    format!(
        "| case | required of Entrepot | measured | met |\n| --- | --- | --- | --- |\n{}",
        lines.collect::<String>()
    )
}

/// Returns today's date (UTC) as YEAR-MONTH-DAY.
fn today() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()[..10].to_owned()
}

pub fn document(scenarios: &[(usize, Scenario)], cells: &[Cell]) -> String {
    let version = Distribution::find().map_or("not installed".to_owned(), |program| Distribution::version(&program));
    let described: String = scenarios
        .iter()
        .map(|(index, scenario)| format!("{}. **{}.** {}\n", index + 1, capital(scenario.title), scenario.text))
        .collect();
    let head = HEAD.replace("{version}", &version).replace("{date}", &today());
    format!(
        "{head}\n## Requirements\n\n{}\n## The table\n\n{COLUMNS}\n{}\n## The scenarios\n\n{SETTING}\n\n{described}",
        requirements(cells),
        table(scenarios, cells)
    )
}

const HEAD: &str = "# A bad link, measured

Measured on {date}.

This page shows the result for a client whose link is slow, breaks, brings wrong bytes or brings no answer. Each scenario runs
three times: through Entrepot, through `registry:2` as a proxy (`docker-registry` {version}), and with curl straight from the upstream (the bare link). The page is written by

```sh
cargo bench --bench link                # everything, in under two minutes
cargo bench --bench link -- cut silence # only the scenarios whose title has one of these words; writes nothing
```

The benchmark needs curl. The rows of `registry:2` need Debian's package `docker-registry`. Times depend on the machine; the other
figures should be the same on every machine.
";

const COLUMNS: &str = "- **result**: the outcome for the clients. `whole`: all bytes arrived and are right. `cut`: the connection ended before the layer
  did, so the client sees an error. `wrong bytes`: the transfer ended as if it were whole; only a check of the digest finds the error.
  `404`, `500`: the status of the answer. `> 8 s`: the transfer had not ended when the scenario did. `–`: not possible with this program.
- **bytes ÷ blob**: the bytes of the layer that left the upstream, divided by the layer's size. The optimum for a cold layer is 1.00.
- **requests**: all requests to the upstream: tokens, manifests, blobs, and the CDN to which blob requests are redirected.
- **× r**: the rate at which the layer arrived, in units of one connection's rate (with two endpoints: one endpoint's rate).
- **÷ bare**: the time to the last byte, divided by the bare link's time.
- **first byte, last byte**: seconds to the layer's first and last byte, counted from the request for the tag. With several clients: the slowest client's.
";

const SETTING: &str = "In every scenario the upstream requires a token and redirects blobs to a CDN on another address. The fault is active before the client
asks for the tag. Each client requests the tag's manifest and then the layer; it never retries. The rate `r` limits every
connection from its first byte. Each run has an upstream, a server and a directory of its own.";

fn table(scenarios: &[(usize, Scenario)], cells: &[Cell]) -> String {
    let mut lines = String::from(
        "| scenario | with | result | bytes ÷ blob | requests | × r | ÷ bare | first byte, s | last byte, s | notes |\n\
         | --- | --- | --- | --: | --: | --: | --: | --: | --: | --- |\n",
    );
    for (index, scenario) in scenarios {
        let of = |who: Who| cells.iter().filter(move |cell| cell.scenario == *index && cell.who == who);
        let bare = of(Who::Curl).flat_map(|cell| &cell.rows).find(|row| row.is_whole());
        let mut title = format!("{}. {}", index + 1, scenario.title);
        for who in Who::ALL {
            let nothing = [Row::said("–")];
            let rows = of(who).map(|cell| &cell.rows[..]).next().filter(|rows| !rows.is_empty()).unwrap_or(&nothing);
            for row in rows {
                let [result, bytes, requests, rate, first, last] = row.columns();
                let alike = |bare: &&Row| bare.case.is_empty() || bare.case == row.case;
                let bare = bare.filter(|_| row.is_whole() && who != Who::Curl).filter(alike);
                let by_bare = bare.map_or("–".to_owned(), |bare| format!("{:.2}", row.seconds() / bare.seconds()));
                let (name, note) = (row.name(who), &row.note);
                lines.push_str(&format!(
                    "| {title} | {name} | {result} | {bytes} | {requests} | {rate} | {by_bare} | {first} | {last} | {note} |\n"
                ));
                title.clear();
            }
        }
    }
    lines
}

fn capital(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub fn heading() -> String {
    let [result, bytes, requests, rate, first, last] =
        ["result", "bytes÷blob", "requests", "x r", "first, s", "last, s"];
    format!("{:40} {:34} {result:24} {bytes:>10} {requests:>8} {rate:>6} {first:>8} {last:>8}", "scenario", "with")
}

/// Returns the rows of a cell for the output during the run.
pub fn printed(cell: &Cell, scenario: &Scenario) -> String {
    let nothing = [Row::said("–")];
    let rows = if cell.rows.is_empty() { &nothing[..] } else { &cell.rows };
    let line = |row: &Row| {
        let [result, bytes, requests, rate, first, last] = row.columns();
        let (number, title, name) = (cell.scenario + 1, scenario.title, row.name(cell.who));
        let note = &row.note;
        format!(
            "{number:2} {title:37} {name:34} {result:24} {bytes:>10} {requests:>8} {rate:>6} {first:>8} {last:>8}  {note}\n"
        )
    };
    rows.iter().map(line).collect()
}
