//! The method and the query of a request.

use std::borrow::Cow;

use http::{Method, Uri};

use super::at::At;
use super::refused::RouteError;
use crate::oci::{Digest, ReferrersQuery};
use crate::registry::PageRequest;
use crate::web::request::Query;

/// The methods that some route has.
#[derive(Clone, Copy)]
pub(super) enum Verb {
    Head,
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// The method and the query of a request: all of its target except the path.
pub(super) struct Params<'a> {
    pub(super) verb: Verb,
    pub(super) query: Query<'a>,
}

impl<'a> Params<'a> {
    pub(super) fn of(method: &Method, uri: &'a Uri) -> Self {
        Self { verb: Verb::of(method), query: Query::of(uri) }
    }

    /// Refuses every method except GET and HEAD.
    pub(super) fn read_only(&self) -> Result<(), RouteError> {
        match self.verb {
            Verb::Head | Verb::Get => Ok(()),
            _ => Err(RouteError::Method { allow: "GET, HEAD" }),
        }
    }

    /// Reads the repository: its name from the path, and `?ns=`.
    pub(super) fn at(&self, name: &str) -> Result<At, RouteError> {
        let name = name.parse().map_err(RouteError::Name)?;
        let ns = self.query.agreed("ns")?.filter(|ns| !ns.is_empty());
        Ok(At { ns: ns.map(Cow::into_owned), name })
    }

    /// Reads a parameter that is a digest.
    pub(super) fn digest(&self, parameter: &'static str) -> Result<Option<Digest>, RouteError> {
        Ok(self.query.once(parameter)?.map(|text| text.parse()).transpose()?)
    }

    /// Reads the filter and the page of a list of referrers.
    pub(super) fn referrers(&self, subject: &str) -> Result<ReferrersQuery, RouteError> {
        // A client that writes `+json` without escaping does not mean a space: no media type has one.
        let artifact_type = self.query.get("artifactType").map(|text| text.replace(' ', "+"));
        let artifact_type = artifact_type.filter(|text| !text.is_empty());
        let PageRequest { n, last } = self.page()?;
        let last = last.filter(|text| !text.is_empty());
        let last = last.map(|text| text.parse().map_err(|_| RouteError::LastReferrer(text))).transpose()?;
        Ok(ReferrersQuery { subject: subject.parse()?, artifact_type, n, last })
    }

    /// Reads `?n=` and `?last=`.
    pub(super) fn page(&self) -> Result<PageRequest, RouteError> {
        let n = self.query.once("n")?.map(|text| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.ok_or_else(|| RouteError::PageNumber(text.into_owned()))
        });
        Ok(PageRequest { n: n.transpose()?, last: self.query.once("last")?.map(Cow::into_owned) })
    }
}
