//! What DNS lists under a name: SRV and TXT records, which the operating system's resolver is not asked for.
//!
//! Invariant: what is found is names, never addresses: those are looked up where they are dialled, by `resolve`. A lookup
//! that fails in part fails.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use openact_core::{
    Error, ErrorCode, Result,
    limits::{CONNECTION_STATE_MAX, SEEDS_ANSWER_MAX, SEEDS_FAILED, SEEDS_FRESH},
    seeds::{Listed, SeedList},
};
use quick_cache::sync::Cache;
use tokio::sync::Mutex;

/// What was found, or why nothing was, and until when that is to be believed.
struct Answer {
    found: std::result::Result<Arc<Listed>, String>,
    until: Instant,
}

/// Looks lists up, and keeps them.
pub(crate) struct Lists {
    /// Which server of DNS is asked; none: those of the operating system.
    server: Option<SocketAddr>,
    /// By the name of the service. Who looks one up lets the others wait.
    known: Cache<String, Arc<Mutex<Option<Answer>>>>,
}

impl Lists {
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        Self { server, known: Cache::new(CONNECTION_STATE_MAX) }
    }

    /// What DNS has for `seeds`.
    pub(crate) async fn get(&self, seeds: &SeedList) -> Result<Arc<Listed>> {
        let service = seeds.service();
        let made: std::result::Result<_, std::convert::Infallible> =
            self.known.get_or_insert_with(&service, || Ok(Arc::default()));
        let Ok(place) = made;
        let mut place = place.lock().await;
        let now = Instant::now();
        let answer = match place.take() {
            Some(known) if now < known.until => known,
            _ => match self.look_up(&service, seeds.name()).await {
                Ok((found, ttl)) => Answer { found: Ok(Arc::new(found)), until: now + fresh(ttl) },
                Err(error) => {
                    let why =
                        if error.is_no_records_found() { "there are none".into() } else { error.to_string() };
                    Answer { found: Err(why), until: Instant::now() + SEEDS_FAILED }
                }
            },
        };
        let found = answer.found.clone();
        *place = Some(answer);
        found.map_err(|why| {
            let message = format!("looking up the SRV records of {service} failed: {why}");
            Error::new(ErrorCode::NetworkError, message)
                .details(serde_json::json!({ "sent": false }))
                .hint("see that the name is right; another server of DNS is asked with OPENACT_DNS_SERVER")
        })
    }

    async fn look_up(&self, service: &str, name: &str) -> std::result::Result<(Listed, Duration), NetError> {
        // Made anew, since the system's servers change when a machine moves; lookups are few.
        let mut builder = match self.server {
            Some(server) => TokioResolver::builder_with_config(of(server), TokioRuntimeProvider::default()),
            None => TokioResolver::builder_tokio()?,
        };
        let options = builder.options_mut();
        (options.cache_size, options.timeout, options.attempts) = (0, SEEDS_ANSWER_MAX, 1);
        let resolver = builder.build()?;
        // With a dot at its end a name is whole: no search domain is added to it.
        let services = resolver.lookup(format!("{service}."), RecordType::SRV);
        let texts = async {
            match resolver.lookup(format!("{name}."), RecordType::TXT).await {
                Err(error) if error.is_no_records_found() => Ok(None),
                other => other.map(Some),
            }
        };
        let (services, texts) = tokio::try_join!(services, texts)?;
        let mut listed = Listed::default();
        let mut ttl = u32::MAX;
        for record in services.answers() {
            if let RData::SRV(service) = &record.data {
                listed.hosts.push((service.target.to_ascii(), service.port));
                ttl = ttl.min(record.ttl);
            }
        }
        for record in texts.iter().flat_map(|found| found.answers()) {
            if let RData::TXT(text) = &record.data {
                listed.texts.push(String::from_utf8_lossy(&text.txt_data.concat()).into_owned());
                ttl = ttl.min(record.ttl);
            }
        }
        // Servers hand records out in any order; another order is no other list.
        listed.hosts.sort();
        listed.texts.sort();
        Ok((listed, Duration::from_secs(ttl.into())))
    }
}

fn of(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    ResolverConfig::from_name_servers(vec![server])
}

/// How long an answer is believed that says `ttl`.
fn fresh(ttl: Duration) -> Duration {
    ttl.clamp(*SEEDS_FRESH.start(), *SEEDS_FRESH.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_records_say_of_their_time_is_believed_within_bounds() {
        for (ttl, seconds) in [(0, 10), (10, 10), (60, 60), (300, 300), (u32::MAX, 300)] {
            assert_eq!(fresh(Duration::from_secs(ttl.into())).as_secs(), seconds, "{ttl}");
        }
    }
}
