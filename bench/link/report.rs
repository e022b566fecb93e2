//! What is written down.

use crate::Cell;
use crate::contestant::Who;
use crate::distribution::Distribution;
use crate::row::Row;
use crate::scenarios::Scenario;

/// What Entrepot promises, and what was measured.
pub fn promises(cells: &[Cell]) -> String {
    let rows = cells.iter().flat_map(|cell| &cell.rows).flat_map(|row| &row.promises);
    let lines = rows.map(|promise| {
        let verdict = if promise.kept { "kept" } else { "**missed**" };
        format!("| {} | {} | {} | {verdict} |\n", promise.what, promise.wanted, promise.measured)
    });
    format!(
        "| case | promised of Entrepot | measured | verdict |\n| --- | --- | --- | --- |\n{}",
        lines.collect::<String>()
    )
}

pub fn document(scenarios: &[(usize, Scenario)], cells: &[Cell]) -> String {
    let version = Distribution::find().map_or("not installed".to_owned(), |program| Distribution::version(&program));
    let described: String = scenarios
        .iter()
        .map(|(index, scenario)| format!("{}. **{}.** {}\n", index + 1, capital(scenario.title), scenario.text))
        .collect();
    let head = HEAD.replace("{version}", &version);
    format!(
        "{head}\n## What was promised\n\n{}\n## The table\n\n{COLUMNS}\n{}\n## The scenarios\n\n{SETTING}\n\n{described}",
        promises(cells),
        table(scenarios, cells)
    )
}

const HEAD: &str = "# A bad link, measured

What a slow, cut, lying or silent link costs somebody who pulls an image through Entrepot, through `registry:2` as a proxy
(`docker-registry` {version}), and straight from the upstream with one curl (the bare link). This page is written by

```sh
cargo bench --bench link                # everything, in under two minutes
cargo bench --bench link -- cut silence # only the scenarios whose title has one of these words; writes nothing
```

which needs curl, and `docker-registry` (a package of Debian) for its column. Times are of the machine that it ran on; the
other figures should come out the same anywhere.
";

const COLUMNS: &str = "- **result**: what the clients got. `whole`: every byte, and the right ones. `cut`: the connection ended before the layer
  did, so a client knows. `wrong bytes`: it ended as if it were whole, and docker finds out by its digest. `404`, `500`: the status that was answered. `> 8 s`: it
  had not ended when the scenario did. `–`: cannot be done with this one.
- **bytes ÷ blob**: bytes of the layer that left the upstream, by the layer's size. 1.00 is the best there is for a layer that
  nobody had.
- **requests**: everything that was asked of the upstream: tokens, manifests, blobs, and the CDN that these are redirected to.
- **× r**: how fast the layer arrived from when it was asked for, in units of what one connection gives (with two endpoints: what one of them gives).
- **÷ bare**: time to the last byte by the bare link's.
- **first byte, last byte**: of the layer, in seconds from before its tag was asked for; with several clients, the slowest's.
";

const SETTING: &str = "In all of them the upstream wants a token, and redirects blobs to a CDN on another address. What goes wrong does so from before
the tag is asked for. Each client asks for the tag's manifest, then for the layer; none tries again. `r` is held on every
connection from its first byte on. Everybody has an upstream, a server and a directory of their own in every scenario.";

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
