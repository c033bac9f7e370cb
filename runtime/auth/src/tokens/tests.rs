//! The promises about tokens, played through without a network and without waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method, header::RETRY_AFTER};
use openact_core::{
    ErrorCode,
    credential::{Answer, Authenticator},
};
use serde_json::{Value, json};
use tokio::sync::{Barrier, Semaphore};

use super::*;
use crate::testing::{Clock, Played, Request, answer, computed, make, ready, shown};

fn section() -> Value {
    json!({"type": "oauth2_client_credentials", "token_url": "https://id.example.com/token",
        "client_id": "c", "client_secret": "hunter2"})
}

fn oauth2(tokens: &Arc<Tokens>, transport: &Arc<Played>) -> Arc<dyn Authenticator> {
    of(&section(), "owner", tokens, transport)
}

fn of(section: &Value, owner: &str, tokens: &Arc<Tokens>, transport: &Arc<Played>) -> Arc<dyn Authenticator> {
    computed(make(section, "https://api.example.com", owner, tokens, transport.clone()).unwrap())
}

/// The token of request `number`, living 100 seconds.
fn issued(number: usize) -> Answer {
    let body = json!({"access_token": format!("token{number}"), "token_type": "bearer", "expires_in": 100});
    answer(200, body)
}

async fn send(authenticator: &Arc<dyn Authenticator>) -> Result<Arc<[Injection]>> {
    authenticator.authenticate(Request::new(Method::GET, "https://api.example.com/").view()).await
}

async fn sent(authenticator: &Arc<dyn Authenticator>) -> String {
    let line = shown(&send(authenticator).await.unwrap()).join(", ");
    line.strip_prefix("header authorization: Bearer ").unwrap().to_owned()
}

fn refused(authenticator: &Arc<dyn Authenticator>, sent: &[Injection]) -> bool {
    let request = Request::new(Method::GET, "https://api.example.com/");
    ready(authenticator.refused(request.view(), sent, &HeaderMap::new())).unwrap()
}

/// Lets the task of a request run until it waits or ends.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Answers as [`issued`] does, but each only with a permit.
fn gated() -> (Arc<Played>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = gate.clone();
    let transport = Played::new(move |number| {
        let gate = waiting.clone();
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Ok(issued(number))
        })
    });
    (transport, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o2_two_hundred_tasks_make_one_request() {
    let (transport, gate) = gated();
    let clock = Clock::new();
    let oauth2 = oauth2(&clock.tokens(), &transport);
    for round in 1..=3 {
        // The second and third time with a token that has ended.
        clock.set(round * 1_000);
        let (barrier, asking) = (Arc::new(Barrier::new(201)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (oauth2, barrier, asking) = (oauth2.clone(), barrier.clone(), asking.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    asking.fetch_add(1, Ordering::SeqCst);
                    sent(&oauth2).await
                })
            })
            .collect();
        barrier.wait().await;
        while asking.load(Ordering::SeqCst) < 200 {
            tokio::task::yield_now().await;
        }
        // As many answers as there could be requests.
        gate.add_permits(200);
        for task in tasks {
            assert_eq!(task.await.unwrap(), format!("token{round}"));
        }
        assert_eq!(transport.count() as u64, round);
        gate.forget_permits(200);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_strands_nobody() {
    let (transport, gate) = gated();
    let oauth2 = oauth2(&Clock::new().tokens(), &transport);
    let ask = || {
        let oauth2 = oauth2.clone();
        tokio::spawn(async move { sent(&oauth2).await })
    };
    let leader = ask();
    settle().await;
    assert_eq!(transport.count(), 1);
    let follower = ask();
    settle().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(follower.await.unwrap(), "token1");
    assert_eq!(sent(&oauth2).await, "token1");
    assert_eq!(transport.count(), 1);
}

#[tokio::test]
async fn a_request_that_crashes_strands_nobody() {
    let transport = Played::new(|number| {
        Box::pin(async move {
            assert!(number > 1, "the first one crashes");
            Ok(issued(number))
        })
    });
    let oauth2 = oauth2(&Clock::new().tokens(), &transport);
    let error = send(&oauth2).await.unwrap_err();
    assert!(error.retryable() && error.code == ErrorCode::Internal, "{error:?}");
    assert_eq!(sent(&oauth2).await, "token2");
}

#[tokio::test]
async fn a_token_is_replaced_early_while_everybody_uses_it() {
    let (transport, gate) = gated();
    let clock = Clock::new();
    let oauth2 = oauth2(&clock.tokens(), &transport);
    gate.add_permits(1);
    assert_eq!(sent(&oauth2).await, "token1");
    // Half of its life, which is less than the minute before its end.
    clock.set(49);
    assert_eq!(ready(sent(&oauth2)), "token1");
    settle().await;
    assert_eq!(transport.count(), 1);
    clock.set(50);
    for _ in 0..10 {
        assert_eq!(ready(sent(&oauth2)), "token1");
        settle().await;
    }
    assert_eq!(transport.count(), 2);
    gate.add_permits(1);
    settle().await;
    assert_eq!(ready(sent(&oauth2)), "token2");
    // Its life counts from when it was asked for, at 50.
    clock.set(151);
    gate.add_permits(1);
    assert_eq!(sent(&oauth2).await, "token3");
}

#[tokio::test]
async fn o10_without_expires_in_an_hour_and_a_refusal() {
    for life in [json!(null), json!(0), json!("0"), json!("soon"), json!(-5), json!([])] {
        let transport = Played::answers(move |number| {
            answer(200, json!({"access_token": format!("token{number}"), "expires_in": life}))
        });
        let clock = Clock::new();
        let oauth2 = oauth2(&clock.tokens(), &transport);
        let first = send(&oauth2).await.unwrap();
        clock.set(3_600 - 61);
        assert_eq!(ready(sent(&oauth2)), "token1");
        assert!(refused(&oauth2, &first));
        assert_eq!(sent(&oauth2).await, "token2");
        clock.set(8_000);
        assert_eq!(sent(&oauth2).await, "token3");
    }
}

#[tokio::test]
async fn lifetimes_as_providers_write_them() {
    for (life, seconds) in
        [(json!("100"), 100), (json!(100.9), 100), (json!(1e300), 3_600), (json!(100), 100)]
    {
        let transport = Played::answers(move |number| {
            answer(200, json!({"access_token": format!("token{number}"), "expires_in": life}))
        });
        let clock = Clock::new();
        let oauth2 = oauth2(&clock.tokens(), &transport);
        assert_eq!(sent(&oauth2).await, "token1");
        clock.set(seconds - 1);
        assert_eq!(sent(&oauth2).await, "token1");
        clock.set(seconds + 1_000);
        assert_ne!(sent(&oauth2).await, "token1");
    }
}

#[tokio::test]
async fn o13_a_refusal_drops_the_token_it_is_about_and_no_newer_one() {
    let transport = Played::answers(issued);
    let clock = Clock::new();
    let oauth2 = oauth2(&clock.tokens(), &transport);
    let first = send(&oauth2).await.unwrap();
    // 200 calls that were sent with it are refused, one after the other.
    for _ in 0..200 {
        assert!(refused(&oauth2, &first));
        assert_eq!(sent(&oauth2).await, "token2");
    }
    assert_eq!(transport.count(), 2);
    // It has just taken the other's place: a third would not be better.
    let second = send(&oauth2).await.unwrap();
    assert!(!refused(&oauth2, &second));
    assert_eq!(sent(&oauth2).await, "token2");
    clock.set(TOKEN_COOLDOWN.as_secs());
    assert!(refused(&oauth2, &second));
    assert_eq!(sent(&oauth2).await, "token3");
    assert_eq!(transport.count(), 3);
}

#[tokio::test]
async fn o8_o9_a_failing_endpoint_costs_no_valid_token_and_is_not_hammered() {
    let transport = Played::answers(|number| match number {
        2 | 3 => answer(503, "busy"),
        _ => issued(number),
    });
    let clock = Clock::new();
    let oauth2 = oauth2(&clock.tokens(), &transport);
    assert_eq!(sent(&oauth2).await, "token1");
    clock.set(96);
    for _ in 0..10 {
        assert_eq!(sent(&oauth2).await, "token1");
        settle().await;
    }
    assert_eq!(transport.count(), 2);
    // It ended, and there is no other yet.
    clock.set(100);
    let error = send(&oauth2).await.unwrap_err();
    assert!(error.code == ErrorCode::UpstreamError && error.retryable(), "{error:?}");
    assert_eq!(transport.count(), 2);
    clock.set(101);
    assert!(send(&oauth2).await.is_err());
    assert_eq!(transport.count(), 3);
    clock.set(106);
    assert_eq!(sent(&oauth2).await, "token4");
}

#[tokio::test]
async fn o9_the_endpoint_says_how_long_to_wait_within_bounds() {
    for (asked, waits) in [("60", 60), ("0", 5), ("86400", 300), ("never", 5)] {
        let transport = Played::answers(move |_| {
            let mut answer = answer(429, "");
            answer.headers.insert(RETRY_AFTER, asked.parse().unwrap());
            answer
        });
        let clock = Clock::new();
        let oauth2 = oauth2(&clock.tokens(), &transport);
        for (seconds, requests) in [(0, 1), (waits - 1, 1), (waits, 2)] {
            clock.set(seconds);
            assert_eq!(send(&oauth2).await.unwrap_err().code, ErrorCode::RateLimited);
            assert_eq!(transport.count(), requests, "{asked} after {seconds}");
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_not_replaced_while_the_endpoint_fails() {
    let transport = Played::answers(|number| if number == 1 { issued(1) } else { answer(500, "") });
    let clock = Clock::new();
    let oauth2 = oauth2(&clock.tokens(), &transport);
    let first = send(&oauth2).await.unwrap();
    clock.set(60);
    assert_eq!(sent(&oauth2).await, "token1");
    settle().await;
    assert!(!refused(&oauth2, &first));
    assert_eq!(send(&oauth2).await.unwrap_err().code, ErrorCode::UpstreamError);
    assert_eq!(transport.count(), 2);
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up() {
    let transport = Played::new(|_| Box::pin(std::future::pending()));
    let oauth2 = oauth2(&Clock::new().tokens_with(Duration::ZERO), &transport);
    let error = send(&oauth2).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(send(&oauth2).await.unwrap_err().code, ErrorCode::Timeout);
    assert_eq!(transport.count(), 1);
}

#[tokio::test]
async fn c6_only_the_same_credential_of_the_same_owner_shares_a_token() {
    let transport = Played::answers(issued);
    let tokens = Clock::new().tokens();
    let other = |field: &str, value: Value| {
        let mut section = section();
        section[field] = value;
        section
    };
    assert_eq!(sent(&of(&section(), "a", &tokens, &transport)).await, "token1");
    assert_eq!(sent(&of(&section(), "a", &tokens, &transport)).await, "token1");
    // The same secret, found elsewhere.
    let env = other("client_secret", json!({"$env": "SET"}));
    assert_eq!(sent(&of(&env, "a", &tokens, &transport)).await, "token1");
    assert_eq!(sent(&of(&section(), "b", &tokens, &transport)).await, "token2");
    for (number, section) in [
        other("client_secret", json!("another")),
        other("scope", json!("write")),
        other("audience", json!("x")),
        other("client_id", json!("d")),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(sent(&of(section, "a", &tokens, &transport)).await, format!("token{}", number + 3));
    }
}
