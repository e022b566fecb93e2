//! One connection: a stretch of a blob from one endpoint.

use bytes::Bytes;

use super::plan::Assignment;
use super::routes::{RouteId, Routes};
use super::silence::Listened;
use super::{Broken, Transfer};
use crate::fills::fill::State;
use crate::fills::source::{Source, agree};
use crate::oci::Span;
use crate::sys::Moment;
use crate::upstream::{BlobRange, BlobStream, UpstreamError};

/// So much is gathered before it is written, if it is there already.
const GATHERED: usize = 512 << 10;

/// What a connection came to.
pub(super) struct Ended {
    pub(super) route: RouteId,
    pub(super) assignment: Assignment,
    pub(super) began: Moment,
    /// Bytes that were not there before.
    pub(super) brought: u64,
    pub(super) outcome: Result<(), Broken>,
}

/// Who asks for what, over which endpoint.
#[derive(Clone, Copy)]
struct Errand<'e> {
    source: &'e Source,
    routes: &'e Routes,
    route: RouteId,
    assignment: Assignment,
}

impl Transfer<'_> {
    /// Fetches what it is assigned, or as much of it as comes.
    pub(super) async fn lane(&self, source: &Source, routes: &Routes, route: RouteId, assignment: Assignment) -> Ended {
        let began = self.means.clock.moment();
        let errand = Errand { source, routes, route, assignment };
        let mut brought = 0;
        let listened = self.silence.listen(assignment.ticket, self.partial.arrivals().total());
        let outcome = tokio::select! {
            outcome = self.run(errand, &listened, &mut brought) => outcome,
            waited = listened.left() => {
                let host = source.upstream.host(routes.endpoint(route));
                Err(Broken::Source(UpstreamError::Timeout { host, waited }))
            }
        };
        Ended { route, assignment, began, brought, outcome }
    }

    async fn run(&self, errand: Errand<'_>, listened: &Listened<'_>, brought: &mut u64) -> Result<(), Broken> {
        let mut stream = match self.open(errand).await {
            Err(UpstreamError::Unsatisfiable { host, total }) => return self.nothing_there(errand, host, total),
            stream => stream.map_err(Broken::Source)?,
        };
        let size = self.accept(errand, &stream).await?;
        let mut position = stream.start();
        loop {
            let pieces = stream.chunks(GATHERED).await.map_err(Broken::Source)?;
            if pieces.is_empty() {
                return self.at_end(errand, &stream, size, position);
            }
            let end = position + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            if let Some(expected) = size.filter(|size| end > *size) {
                return Err(Broken::Source(UpstreamError::Length { expected, found: end }));
            }
            *brought += self.keep(errand, position, pieces).await?;
            listened.heard(self.partial.arrivals().total());
            position = end;
            // More than was asked for is another connection's to bring.
            let asked = self.plan().end_of(errand.assignment);
            if stream.is_ranged()
                && errand.assignment.bounded
                && stream.end().is_none_or(|end| end > asked)
                && position >= asked
            {
                return Ok(());
            }
            // One that sends everything may bring nothing more that is new.
            if !stream.is_ranged() && self.is_done() && size.is_some_and(|size| position < size) {
                return Ok(());
            }
        }
    }

    /// Asks for the stretch. What an earlier answer taught is used, and forgotten when it leads nowhere any more: signed
    /// addresses expire.
    async fn open(&self, errand: Errand<'_>) -> Result<BlobStream, UpstreamError> {
        let Errand { source, routes, route, assignment } = errand;
        let stretch = BlobRange {
            repository: &source.repository,
            digest: &self.fill.digest,
            from: assignment.span.start,
            to: assignment.bounded.then_some(assignment.span.end),
        };
        let endpoint = routes.endpoint(route);
        if let Some(trail) = routes.trail(route) {
            let asked = source.upstream.get_range(endpoint, &stretch, Some(&trail)).await;
            let asked_for_part = stretch.from > 0 || stretch.to.is_some();
            match asked {
                Ok(stream) if stream.is_ranged() || !asked_for_part => return Ok(stream),
                Err(error @ UpstreamError::TooManyRequests { .. }) => return Err(error),
                // Also when the whole came: its validator may be another one now.
                _ => routes.set_trail(route, None),
            }
        }
        let stream = source.upstream.get_range(endpoint, &stretch, None).await?;
        // One that ignores ranges would only be asked a second time on a trail.
        routes.set_trail(route, Some(stream.resume_hint().clone()).filter(|_| stream.is_ranged()));
        Ok(stream)
    }

    /// An answer has come: the source vouches for its repository, and says how long the blob is. Returns the size.
    async fn accept(&self, errand: Errand<'_>, stream: &BlobStream) -> Result<Option<u64>, Broken> {
        // Readers were told the first size: no later source may name another.
        let sizes = [errand.source.expected_size, self.fill.progress().size, stream.total()];
        let size = agree(sizes).map_err(Broken::Source)?;
        if !stream.is_ranged() && !self.plan().takes_all(errand.assignment) {
            let (host, reason) = (errand.source.upstream.name().to_string(), "it ignores ranges".to_owned());
            errand.routes.leave_to_others(errand.route);
            return Err(Broken::Source(UpstreamError::Protocol { host, reason }));
        }
        match size {
            Some(size) => self.plan().set_size(size),
            None => self.plan().set_manner(super::Manner::Whole),
        }
        let mut room = self.room.lock().await;
        if room.is_none() {
            let arrived = self.partial.arrivals().total();
            let reserved = self.means.quota.reserve_for(&self.fill.digest, arrived, size).await;
            *room = Some(reserved.map_err(|_| Broken::Storage(None))?);
        }
        drop(room);
        self.fill.answered(&errand.source.key(), size);
        self.answered.notify_one();
        Ok(size)
    }

    /// 416: the blob ends where more was asked for, or before.
    fn nothing_there(&self, errand: Errand<'_>, host: String, total: Option<u64>) -> Result<(), Broken> {
        let arrivals = self.partial.arrivals();
        let unsatisfiable = UpstreamError::Unsatisfiable { host, total };
        let known = self.plan().size();
        if known.is_some_and(|known| total.is_some_and(|total| total != known)) {
            let (expected, found) = (known.unwrap_or_default(), total.unwrap_or_default());
            return Err(Broken::Source(UpstreamError::Length { expected, found }));
        }
        if known.is_none() && total.is_none() && errand.assignment.span.start != arrivals.prefix() {
            // What somebody wants lies beyond the end, wherever that is: from the beginning on it will be found.
            self.plan().ask_in_order();
            return Ok(());
        }
        let asking = self.fill.progress().state == State::Asking;
        match total.or_else(|| known.is_none().then(|| arrivals.prefix())) {
            // Only as long as no reader has seen any of it.
            Some(total) if total < arrivals.snapshot().end() && asking => Err(Broken::Unresumable),
            Some(total) if known.is_none() && total >= arrivals.snapshot().end() => {
                self.plan().set_size(total);
                self.fill.answered(&errand.source.key(), Some(total));
                Ok(())
            }
            _ => Err(Broken::Source(unsatisfiable)),
        }
    }

    /// The stream has ended as it should. One whose end was left open tells by it how long the blob is, where nothing else did.
    fn at_end(&self, errand: Errand<'_>, stream: &BlobStream, size: Option<u64>, position: u64) -> Result<(), Broken> {
        match size {
            // It has no length of its own, and was closed early: as good as cut.
            Some(expected) if !stream.is_ranged() && position < expected => {
                let reason = format!("it ended after {position} of {expected} bytes");
                Err(Broken::Source(UpstreamError::Protocol { host: errand.source.upstream.name().to_string(), reason }))
            }
            None if !(stream.is_ranged() && errand.assignment.bounded) => {
                self.plan().set_size(position);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes what is new of some pieces. Returns how much that was.
    async fn keep(&self, errand: Errand<'_>, position: u64, pieces: Vec<Bytes>) -> Result<u64, Broken> {
        let mut end = position + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if errand.assignment.bounded && self.plan().is_in_stretches() {
            end = end.min(self.plan().end_of(errand.assignment));
        }
        let mut kept = 0;
        let mut from = position;
        // An upstream that ignores ranges is read on, and what is known is dropped.
        while let Some(span) = self.partial.arrivals().snapshot().first_missing(Span { start: from, end }) {
            let new = cut(&pieces, position, span);
            self.write(errand, span, new).await?;
            kept += span.len();
            from = span.end;
        }
        Ok(kept)
    }

    async fn write(&self, errand: Errand<'_>, span: Span, pieces: Vec<Bytes>) -> Result<(), Broken> {
        let storage = |error| Broken::Storage(Some(error));
        let origin = (errand.source.key(), errand.routes.endpoint(errand.route));
        if self.fill.progress().state == State::Doubted {
            let differs = self.partial.overwrite(span.start, pieces).await.map_err(storage)?;
            let before = self.origins().set(&origin, span);
            if differs {
                self.fill.taint(span);
                self.suspect(before);
            }
        } else {
            if let Some(room) = self.room.lock().await.as_mut() {
                room.written(span.len()).await.map_err(|_| Broken::Storage(None))?;
            }
            self.partial.write(span.start, pieces).await.map_err(storage)?;
            self.origins().set(&origin, span);
        }
        self.fill.arrived();
        Ok(())
    }
}

/// The part of consecutive pieces, the first of which begins at `position`, that `span` names.
fn cut(pieces: &[Bytes], position: u64, span: Span) -> Vec<Bytes> {
    let mut at = position;
    let mut cut = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let len = piece.len() as u64;
        let from = span.start.clamp(at, at + len) - at;
        let to = span.end.clamp(at, at + len) - at;
        if from < to {
            // Both lie within the piece, whose length is a usize.
            cut.push(piece.slice(from as usize..to as usize));
        }
        at += len;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_pieces() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"de"), Bytes::from_static(b"fgh")];
        for ((start, end), want) in
            [((10, 18), "abcdefgh"), ((11, 14), "bcd"), ((13, 15), "de"), ((16, 18), "gh"), ((12, 13), "c")]
        {
            let found: Vec<u8> = cut(&pieces, 10, Span { start, end }).concat();
            assert_eq!(String::from_utf8(found).unwrap(), want);
        }
    }
}
