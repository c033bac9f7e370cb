//! The one resolver: every name that is dialled is looked up here, once, and every address checked (E2–E7).
//!
//! Invariant: what is dialled is what was checked; the client never looks a name up again for the same connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use openact_core::{Error, credential::BoxFuture, policy::PrivateAccess};
use url::Host;

/// Looks names up. The default asks the operating system.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Asks the operating system.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(
            async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect()) },
        )
    }
}

/// A client's resolver: the addresses that may be dialled on one port.
pub(crate) struct GuardedResolver {
    pub(crate) inner: Arc<dyn Resolve>,
    pub(crate) private: Arc<PrivateAccess>,
    pub(crate) port: u16,
    /// The proxy's host, and the ports that it may be dialled on; the rest is looked up by it.
    pub(crate) proxy: Option<(Host<String>, Vec<u16>)>,
    /// A name that stands for another host: the server name of TLS, and where to.
    pub(crate) stands_for: Option<(String, Host<String>)>,
}

impl GuardedResolver {
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let host = match &self.stands_for {
            Some((stand_in, host)) if stand_in.eq_ignore_ascii_case(name) => host,
            _ => &Host::Domain(name.to_owned()),
        };
        let ports = match &self.proxy {
            Some((proxy, ports)) if proxy == host => ports.as_slice(),
            _ => std::slice::from_ref(&self.port),
        };
        let mut found = match host {
            Host::Domain(name) => self.inner.resolve(name).await?,
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        };
        for port in ports {
            found = self.private.admit(&host.to_string(), *port, &found)?;
        }
        Ok(found)
    }
}

/// The client's view of [`GuardedResolver`].
#[derive(Clone)]
pub(crate) struct ClientResolver(pub(crate) Arc<GuardedResolver>);

impl reqwest::dns::Resolve for ClientResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's.
            let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The policy's error inside a client's, if that is why the client gave up.
pub(crate) fn denial(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(found) = cause {
        if let Some(denied) = found.downcast_ref::<Error>() {
            let copy = Error::new(denied.code, denied.message.clone());
            let copy = denied.hint.iter().fold(copy, |copy, hint| copy.hint(hint.clone()));
            return Some(denied.details.iter().fold(copy, |copy, details| copy.details(details.clone())));
        }
        cause = found.source();
    }
    None
}
