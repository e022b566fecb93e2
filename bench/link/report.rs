//! The report in docs/measured/LINK.md.

use crate::Cell;
use crate::contestant::Who;
use crate::distribution::Distribution;
use crate::row::Row;
use crate::scenarios::Scenario;

/// The longest time of Entrepot where no requirement is named, in times of the best other contestant.
const BESIDE_PEERS: f64 = 1.05;

/// Returns the table of the requirements that Entrepot must meet, with their measurements.
pub fn requirements(scenarios: &[(usize, Scenario)], cells: &[Cell]) -> String {
    let rows = cells.iter().flat_map(|cell| &cell.rows).flat_map(|row| &row.requirements);
    let line = |what: &str, wanted: &str, measured: &str, met: bool| {
        format!("| {what} | {wanted} | {measured} | {} |\n", if met { "yes" } else { "**no**" })
    };
    let named =
        rows.map(|requirement| line(requirement.what, requirement.wanted, &requirement.measured, requirement.met));
    let compared = scenarios.iter().filter(|(_, scenario)| scenario.contestants.contains(&Who::Aria2)).flat_map(
        |(index, scenario)| {
            let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.scenario == *index).collect();
            let own: Vec<&Row> = rows_of(&cells, Who::Entrepot).filter(|row| row.requirements.is_empty()).collect();
            own.into_iter()
                .map(|row| {
                    let (peer, seconds) = best_peer(&cells, row.case);
                    let times = row.seconds() / seconds;
                    let case = if row.case.is_empty() {
                        scenario.title.to_owned()
                    } else {
                        format!("{}: {}", scenario.title, row.case)
                    };
                    let measured = if row.is_whole() {
                        format!("{times:.2} of {peer}'s {seconds:.2} s")
                    } else {
                        format!("{}, {peer} {seconds:.2} s", row.result)
                    };
                    line(&case, "≤ 1.05 of the time of the best other", &measured, times <= BESIDE_PEERS)
                })
                .collect::<Vec<_>>()
        },
    );
    format!(
        "| case | required of Entrepot | measured | met |\n| --- | --- | --- | --- |\n{}",
        named.chain(compared).collect::<String>()
    )
}

fn rows_of<'c>(cells: &[&'c Cell], who: Who) -> impl Iterator<Item = &'c Row> {
    cells
        .iter()
        .copied()
        .filter(move |cell| cell.who == who)
        .flat_map(|cell| &cell.rows)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Returns the name and the time of the fastest other contestant in a case.
fn best_peer(cells: &[&Cell], case: &str) -> (&'static str, f64) {
    let peers = Who::ALL.into_iter().filter(|who| *who != Who::Entrepot);
    let times = peers.flat_map(|who| rows_of(cells, who).map(move |row| (who.name(), row)));
    let times = times.filter(|(_, row)| row.is_whole() && row.case == case).map(|(name, row)| (name, row.seconds()));
    times.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("no other", f64::INFINITY))
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
        requirements(scenarios, cells),
        table(scenarios, cells)
    )
}

const HEAD: &str = "# A bad link, measured

Measured on {date}.

This page shows the result for a client whose link is slow, breaks, brings wrong bytes or brings no answer. Each scenario runs
three times: through Entrepot, through `registry:2` as a proxy (`docker-registry` {version}), and with curl straight from the upstream (the bare link).
Where several connections for one transfer matter, it also runs with aria2c straight from the upstream, with 16 connections
(`-x16 -s16 -k1M --file-allocation=none`). The page is written by

```sh
cargo bench --bench link                # everything, in some minutes     
cargo bench --bench link -- cut silence # only the scenarios whose title has one of these words; writes nothing
```

The benchmark needs curl and openssl. The rows of `registry:2` and of aria2c need Debian's packages `docker-registry` and `aria2`. Times depend on the machine; the other
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
        for who in scenario.contestants.iter().copied() {
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
