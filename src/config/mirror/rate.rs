//! Rates of a link: bits or bytes in a second.

use std::fmt;
use std::str::FromStr;

use serde_json::json;

use crate::config::keys::Notation;
use crate::config::scalar_type::ScalarType;

/// A rate of at least one byte in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    bytes: u64,
}

/// The limit of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkLimit {
    #[default]
    Unlimited,
    AtMost(Rate),
}

/// The units, each with its bits. The first that divides a rate is the one that it is printed in.
const UNITS: &[(&str, u128)] = &[
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1000),
    ("GiB/s", 8 << 30),
    ("MiB/s", 8 << 20),
    ("KiB/s", 8 << 10),
    ("GB/s", 8_000_000_000),
    ("MB/s", 8_000_000),
    ("kB/s", 8000),
    ("B/s", 8),
    ("bit/s", 1),
];

/// The digits after the point that a rate may have.
const DECIMALS: usize = 9;

/// The longest rate: a terabyte in a second.
const MOST: u128 = 1_000_000_000_000;

pub(super) const LIMIT: ScalarType<LinkLimit> = ScalarType {
    notation: Notation::Pattern("^(?:unlimited|[0-9]+(?:\\.[0-9]+)? ?(?:[kKmMgG]?(?:bit|B)/s|[kKmMgG]iB/s))$"),
    write: "write a rate above zero with its unit, such as 20Mbit/s, 500kbit/s, 2.5MB/s or 5MiB/s, or unlimited",
    parse: |text| match text {
        "unlimited" => Some(LinkLimit::Unlimited),
        rate => rate.parse().ok().map(LinkLimit::AtMost),
    },
    show: |limit| json!(limit.to_string()),
};

impl Rate {
    /// Returns a rate; `None` if it is zero.
    pub fn of_bytes(bytes: u64) -> Option<Self> {
        (bytes > 0).then_some(Self { bytes })
    }

    /// Returns the bytes in a second, at least one.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

impl LinkLimit {
    /// Returns the rate, if there is a limit.
    pub fn rate(self) -> Option<Rate> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(rate) => Some(rate),
        }
    }
}

impl FromStr for Rate {
    type Err = ();

    /// Reads a decimal number and a unit. The unit is written out, since `Mb` and `mbps` mean bits to some readers and
    /// bytes to others. Only the first letter of its prefix may be in upper or lower case.
    fn from_str(text: &str) -> Result<Self, ()> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(())?;
        let (number, unit) = text.split_at(split);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let is_unit = |known: &&(&str, u128)| {
            let (first, rest) = known.0.split_at(1);
            // The first letter of `B/s` and `bit/s` is no prefix.
            let has_prefix = !matches!(first, "B" | "b");
            unit == known.0
                || (has_prefix
                    && unit.get(..1).is_some_and(|c| c.eq_ignore_ascii_case(first))
                    && unit.get(1..) == Some(rest))
        };
        let (_, bits) = UNITS.iter().find(is_unit).ok_or(())?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || decimals.is_empty() || decimals.len() > DECIMALS || whole.len() > 15 {
            return Err(());
        }
        let scaled: u128 = format!("{whole}{decimals:0<DECIMALS$}").parse().map_err(|_| ())?;
        let bytes = scaled * bits / 8 / 10u128.pow(DECIMALS as u32);
        u64::try_from(bytes.min(MOST + 1))
            .ok()
            .filter(|bytes| u128::from(*bytes) <= MOST)
            .and_then(Self::of_bytes)
            .ok_or(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from(self.bytes) * 8;
        let (unit, factor) = UNITS.iter().find(|(_, factor)| bits.is_multiple_of(*factor)).unwrap_or(&("bit/s", 1));
        write!(f, "{}{unit}", bits / factor)
    }
}

impl fmt::Display for LinkLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::AtMost(rate) => rate.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, bytes, shown) in [
            ("20Mbit/s", 2_500_000, "20Mbit/s"),
            ("2.5MB/s", 2_500_000, "20Mbit/s"),
            ("5MiB/s", 5 << 20, "5MiB/s"),
            ("500kbit/s", 62_500, "500kbit/s"),
            ("500Kbit/s", 62_500, "500kbit/s"),
            ("20mbit/s", 2_500_000, "20Mbit/s"),
            ("1gB/s", 1_000_000_000, "8Gbit/s"),
            ("1.5 KiB/s", 1536, "1536B/s"),
            ("64kiB/s", 65_536, "64KiB/s"),
            ("9999 bit/s", 1249, "1249B/s"),
            ("8bit/s", 1, "1B/s"),
            ("0.000008Mbit/s", 1, "1B/s"),
            ("100Gbit/s", 12_500_000_000, "100Gbit/s"),
        ] {
            let rate: Rate = text.parse().unwrap_or_else(|()| panic!("{text:?} was not read"));
            assert_eq!((rate.bytes(), rate.to_string().as_str()), (bytes, shown), "{text}");
            assert_eq!(shown.parse(), Ok(rate), "{text}");
        }
        for bad in [
            "",
            "20",
            "20Mb",
            "20Mb/s",
            "20mbps",
            "20Mbps",
            "20MB",
            "20M",
            "0Mbit/s",
            "0.0kbit/s",
            "7bit/s",
            "-1Mbit/s",
            "+1Mbit/s",
            "1,5Mbit/s",
            ".5Mbit/s",
            "5.Mbit/s",
            "1.5.2Mbit/s",
            "Mbit/s",
            "20  Mbit/s",
            "20Mbit/s ",
            "20Mibit/s",
            "20MBit/s",
            "1e3kbit/s",
            "20Mbit",
            "20b/s",
            "1.0000000001Mbit/s",
            "99999999Gbit/s",
            "99999999999999999999kbit/s",
            "unlimited",
            "é20Mbit/s",
            "20é",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(()), "{bad:?} was read as a rate");
        }
    }
}
