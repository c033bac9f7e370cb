//! B1 and B2: an HTTP GET with a stored credential, as an action and by bare reqwest.
//!
//! Both sides send the same headers to the same server, in the same process on the same two workers, with clients of
//! the same settings. Invariant: our side is the whole of it (reference, merge, checks, fresh sandbox, run record in
//! an SQLite file); its time ends when the last record is written.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use openact::{Format, MasterKey, OpenAct};
use serde_json::json;
use support::upstream::{Answer, Upstream};

use crate::{
    figure::{Budget, Compare, Figure},
    rounds::{Caller, Effort, median, median_us, saturate},
};

/// Calls in flight when throughput is measured.
const TASKS: usize = 32;

pub(crate) const ACTION: &str = "http/get-user";
pub(crate) const PATH: &str = "/users/octocat";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ACCEPT: &str = "application/vnd.github.v3+json";

/// One connection, one action. `BASE_URL` and `TOKEN` are filled in from the environment.
pub(crate) const CONFIG: &str = r#"
connectors:
  http:
    connections:
      github-api:
        base_url: "${BASE_URL}"
        auth: { type: bearer, token: "${TOKEN}" }
    actions:
      get-user:
        connection: github-api
        method: GET
        path: /users/octocat
        headers: { Accept: application/vnd.github.v3+json }
"#;

/// An API's answer of ordinary size.
pub(crate) const BODY: &str = r#"{"login":"octocat","id":583231,"node_id":"MDQ6VXNlcjU4MzIzMQ==","avatar_url":"https://avatars.example/u/583231?v=4","gravatar_id":"","url":"https://api.example/users/octocat","html_url":"https://example/octocat","type":"User","site_admin":false,"name":"The Octocat","company":"@github","blog":"https://blog.example","location":"San Francisco","email":null,"hireable":null,"bio":null,"public_repos":8,"public_gists":8,"followers":16000,"following":9,"created_at":"2011-01-25T18:44:36Z","updated_at":"2025-10-22T11:27:49Z"}"#;

pub(crate) async fn upstream() -> Upstream {
    Upstream::start_forgetful(|_| Answer::Json(BODY.to_owned())).await
}

/// B1: calls a second, [`TASKS`] at a time, both cores busy.
pub(crate) async fn throughput(effort: Effort) -> Result<Figure> {
    let upstream = upstream().await;
    let bare = Bare::new(&upstream)?;
    let (mut rounds, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        // A store of its own each turn: closing it is how the records still waiting are counted in.
        let ours = Ours::new(&upstream).await?;
        let mut turn = saturate(effort.turn, ours.callers()).await?;
        let closing = Instant::now();
        ours.openact.close().await?;
        let closing = closing.elapsed();
        turn.elapsed += closing;
        shares.push(100.0 * closing.as_secs_f64() / turn.elapsed.as_secs_f64());

        let bare = bare.clone();
        let bare = saturate(effort.turn, vec![move || bare.clone().get(); TASKS]).await?;
        rounds.push((turn.per_second(), bare.per_second()));
    }
    Ok(Figure {
        id: "B1",
        what: "throughput of an HTTP GET, 32 tasks, against bare reqwest",
        unit: "/s",
        rounds,
        compare: Compare::Ratio,
        budget: Budget::AtLeast(0.40, Some(0.70)),
        note: format!("{:.0} % of our time is the wait for the last run records", median(shares)),
    })
}

/// B2: what is added to the time of one call at a time.
pub(crate) async fn latency(effort: Effort) -> Result<Figure> {
    let upstream = upstream().await;
    let bare = Bare::new(&upstream)?;
    let ours = Ours::new(&upstream).await?;
    let mut rounds = Vec::new();
    // Many short turns: the machine's mood changes faster than a long one ends.
    for _ in 0..effort.rounds * 2 {
        let (openact, bare) = (ours.openact.clone(), bare.clone());
        let action = median_us(effort.calls / 2, move || call(openact.clone())).await?;
        let plain = median_us(effort.calls / 2, move || bare.clone().get()).await?;
        rounds.push((action, plain));
    }
    ours.openact.close().await?;
    Ok(Figure {
        id: "B2",
        what: "latency of an HTTP GET, p50, added to bare reqwest's",
        unit: "µs",
        rounds,
        compare: Compare::Added,
        budget: Budget::AtMost(2.0, Some(0.8)),
        note: String::new(),
    })
}

struct Ours {
    openact: OpenAct,
    /// Holds the database.
    _folder: tempfile::TempDir,
}

impl Ours {
    async fn new(upstream: &Upstream) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let openact = support::builder(folder.path(), &[("BASE_URL", &upstream.url()), ("TOKEN", TOKEN)])
            .master_key(MasterKey::ephemeral()?)
            .config_text(CONFIG, Format::Yaml)
            .build()
            .await?;
        let first = openact.run(ACTION, json!({})).await?.result.value()?;
        ensure!(
            first["status_code"] == 200 && first["body"]["login"] == "octocat",
            "the action answers {first}"
        );
        let ours = Self { openact, _folder: folder };
        saturate(Duration::from_millis(100), ours.callers()).await?;
        Ok(ours)
    }

    fn callers(&self) -> Vec<impl Caller> {
        let openact = self.openact.clone();
        vec![move || call(openact.clone()); TASKS]
    }
}

async fn call(openact: OpenAct) -> Result<()> {
    let outcome = openact.run(ACTION, json!({})).await?;
    ensure!(outcome.result.as_str().len() > BODY.len(), "the result is short");
    Ok(())
}

/// reqwest as the engine sets it up, without the engine.
#[derive(Clone)]
pub(crate) struct Bare {
    client: reqwest::Client,
    url: String,
}

impl Bare {
    pub(crate) fn new(upstream: &Upstream) -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent("openact-bench")
            .pool_max_idle_per_host(openact::limits::HTTP_IDLE_PER_HOST_MAX)
            .pool_idle_timeout(openact::limits::HTTP_IDLE_TIMEOUT)
            .tls_certs_only([])
            .build()?;
        Ok(Self { client, url: format!("{}{PATH}", upstream.url()) })
    }

    async fn get(self) -> Result<()> {
        let response = self.client.get(&self.url).header("accept", ACCEPT).bearer_auth(TOKEN).send().await?;
        ensure!(response.status() == 200, "the server answers {}", response.status());
        ensure!(response.bytes().await?.len() == BODY.len(), "the body is cut");
        Ok(())
    }
}
