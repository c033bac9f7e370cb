//! The demo's API: an HTTP/1.1 server on loopback that knows two paths, and a client without OpenAct to compare with.
//!
//! Invariant: it listens on 127.0.0.1 alone and ends with its value.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const USER: &str = r#"{"login":"octocat","name":"The Octocat","public_repos":8}"#;

/// A head longer than this is not of the demo's making.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Api {
    address: SocketAddr,
    /// How many requests came, and the last one's head.
    seen: Arc<Mutex<(usize, String)>>,
    task: JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    /// Starts a server; `/moved` redirects to `elsewhere`.
    pub(super) async fn start(elsewhere: Option<String>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, seen) = (listener.local_addr()?, Arc::new(Mutex::default()));
        let shared: Arc<Mutex<(usize, String)>> = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (elsewhere, shared) = (elsewhere.clone(), shared.clone());
                // A connection that breaks is its client's affair.
                tokio::spawn(async move { serve(stream, elsewhere.as_deref(), &shared).await.ok() });
            }
        });
        Ok(Self { address, seen, task })
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn last_request(&self) -> Option<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.0 > 0).then(|| seen.1.clone())
    }

    /// How long the same request takes over one plain connection, each time.
    pub(super) async fn time_bare_requests(&self, count: usize) -> io::Result<Vec<Duration>> {
        let mut stream = BufStream::new(TcpStream::connect(self.address).await?);
        stream.get_ref().set_nodelay(true)?;
        let request = format!("GET /users/octocat HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let (mut times, mut body) = (Vec::with_capacity(count), vec![0; USER.len()]);
        for _ in 0..count {
            let clock = Instant::now();
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            read_head(&mut stream).await?;
            stream.read_exact(&mut body).await?;
            times.push(clock.elapsed());
        }
        Ok(times)
    }
}

async fn serve(stream: TcpStream, elsewhere: Option<&str>, seen: &Mutex<(usize, String)>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    loop {
        let head = read_head(&mut stream).await?;
        let answer = match (head.split(' ').nth(1), elsewhere) {
            (Some("/users/octocat"), _) => {
                format!(
                    "200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{USER}",
                    USER.len()
                )
            }
            (Some("/moved"), Some(to)) => {
                format!("302 Found\r\nlocation: {to}/users/octocat\r\ncontent-length: 0\r\n\r\n")
            }
            _ => "404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = (seen.0 + 1, head);
        }
        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Everything up to the empty line; the demo's requests have no body.
async fn read_head(stream: &mut BufStream<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
