//! Who asks how often, and from where.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use jiff::Timestamp;

use crate::Error;

/// How many requests one caller may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Callers that are remembered; when there are more, all are forgotten whose time has passed.
const REMEMBERED: usize = 10_000;

/// Lets each caller make so many requests: a leaky bucket, kept as the time at which it is empty again (GCRA, ITU-T
/// I.371). Callers are named by hashes of theirs, never by tokens.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: Option<Rate>,
    empty_at: Mutex<HashMap<Vec<u8>, i64>>,
}

impl Limiter {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        Self { rate: rate.filter(|rate| rate.per_second > 0), empty_at: Mutex::default() }
    }

    /// Counts one request; refused: seconds until one is let through again.
    pub(super) fn take(&self, caller: &[u8], now: Timestamp) -> Result<(), u64> {
        let Some(rate) = self.rate else { return Ok(()) };
        let now = now.as_microsecond();
        let each = 1_000_000 / i64::from(rate.per_second);
        let room = each * i64::from(rate.burst.max(1));
        let mut known = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, empty| *empty > now);
        }
        let empty = known.get(caller).copied().unwrap_or(now).max(now);
        // When the clock was set back, nobody waits longer than a full bucket takes.
        let empty = empty.min(now + room);
        if empty + each - now > room {
            known.insert(caller.to_owned(), empty);
            let wait = (empty + each - now - room).max(1);
            return Err(u64::try_from(wait).unwrap_or(1).div_ceil(1_000_000));
        }
        known.insert(caller.to_owned(), empty + each);
        Ok(())
    }
}

/// A block of addresses, `10.0.0.0/8`; one address is a block, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    address: IpAddr,
    bits: u8,
}

impl Block {
    /// Reads `10.0.0.0/8`, `fd00::/8` or one address.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("{text:?} is no block of addresses: write it as 10.0.0.0/8 or fd00::/8"));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), |bits| bits.trim().parse().map_err(|_| wrong()))?;
        if bits > longest {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wide = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((ours, v4), (theirs, their_v4)) = (wide(self.address.to_canonical()), wide(address.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        v4 == their_v4 && ours & mask == theirs & mask
    }
}

/// Who really sent a request: the peer, or, while the peer is a trusted proxy, who it says that it speaks for
/// (`X-Forwarded-For`, read from its end: only what trusted proxies added counts).
pub(super) fn remote(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[Block]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|block| block.contains(address));
    let mut remote = peer?;
    let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let said: Vec<_> = said.flat_map(|line| line.split(',')).map(str::trim).collect();
    for text in said.into_iter().rev() {
        if !is_trusted(remote) {
            break;
        }
        match text.parse() {
            Ok(address) => remote = address,
            Err(_) => break,
        }
    }
    Some(remote)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_caller_has_its_burst_and_then_its_rate() {
        let limiter = Limiter::new(Some(Rate { per_second: 2, burst: 3 }));
        let at = |millis: i64| Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap();
        let passes = |caller: &str, millis| limiter.take(caller.as_bytes(), at(millis)).is_ok();
        assert!(passes("a", 0) && passes("a", 0) && passes("a", 0));
        assert_eq!(limiter.take(b"a", at(0)), Err(1));
        assert!(passes("b", 0), "another caller has a bucket of its own");
        assert!(!passes("a", 499) && passes("a", 500) && !passes("a", 500) && passes("a", 1000));
        assert!(passes("a", 60_000) && passes("a", 60_000) && passes("a", 60_000) && !passes("a", 60_000));
        assert!(!passes("a", -10_000) && passes("a", -9_000), "a clock that was set back locks nobody out for long");
        let none = Limiter::new(None);
        assert!((0..1000).all(|_| none.take(b"a", at(0)).is_ok()));
    }

    #[test]
    fn blocks_hold_their_addresses() {
        let holds = |block: &str, address: &str| Block::parse(block).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(
            holds("10.0.0.0/8", "::ffff:10.0.0.1") && holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1")
        );
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/-1"] {
            assert!(Block::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_sent_it() {
        let trusted = [Block::parse("10.0.0.0/8").unwrap()];
        let from = |peer: &str, said: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(said));
            remote(Some(peer.parse().unwrap()), &headers, &trusted).unwrap().to_string()
        };
        assert_eq!(from("192.0.2.1", "203.0.113.7"), "192.0.2.1", "a stranger's word");
        assert_eq!(from("10.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(
            from("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2"),
            "203.0.113.7",
            "the first is what a client wrote"
        );
        assert_eq!(from("10.0.0.1", "nonsense"), "10.0.0.1");
        assert_eq!(remote(None, &HeaderMap::new(), &trusted), None);
    }
}
