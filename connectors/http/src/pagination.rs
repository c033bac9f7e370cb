//! Page after page of a list.
//!
//! | type | the next request |
//! |---|---|
//! | `link` | the `Link` header's `rel=next`, on the base's origin |
//! | `cursor` | the answer's value at `cursor` goes into the parameter `param` |
//! | `page` | the parameter `param` counts pages |
//! | `offset` | the parameter `param` counts items |
//!
//! It ends where there is no next page, which for `page` and `offset` is an empty one, and at the bounds; `truncated`
//! says that there was, or may be, more, and `next` from where to go on:
//!
//! | type | `next` |
//! |---|---|
//! | `link` | path and query of the next page, from the origin on |
//! | `cursor` | the cursor as it came; null if it is the first page, which has none |
//! | `page`, `offset` | the number |
//!
//! Where `max_items` cut a page, that is the next item for `offset`, else the same page, whose first items come again.
//! Each request is a new one, with the action's headers and the connection's credential. The items go to the caller as
//! they arrive if it takes a stream, else into the result; which of both is learnt from the first item.
//!
//! Invariants: one page is held at a time; an item is the text it was; at most `max_pages` requests.

use openact_connector::{Failure, Host, HostError, Json, Response, UpstreamFailure};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    answer::{As, Content},
    body::{Format, Kind},
    config::BodyType,
    json::{Pointer, member, push_string, with_member},
    link,
    request::{Outgoing, Sender},
    response::ResponseSettings,
    rules, url,
    variables::Value,
};

/// How to get from one page to the next.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("allOf" = rules::of_pagination()))]
pub struct Pagination {
    /// What leads to the next page.
    #[serde(rename = "type")]
    pub style: Style,
    /// Where the list is in a page, such as /data/items. Default: the page is the list; needed for type cursor.
    #[serde(default)]
    #[schemars(with = "Pointer")]
    pub items: Option<Pointer>,
    /// Where the next page's cursor is in a page, such as /next_cursor. Null, false, "" and nothing end the list. Type
    /// cursor.
    #[serde(default)]
    #[schemars(with = "Pointer")]
    pub cursor: Option<Pointer>,
    /// The parameter that changes from page to page. Default: the type's name. In a body it may be a place such as
    /// /variables/after. Types cursor, page, offset.
    #[serde(default)]
    #[schemars(with = "String")]
    pub param: Option<String>,
    /// Where the parameter is sent. Type cursor.
    #[serde(default, rename = "in")]
    pub place: ParamPlace,
    /// The first page's number or offset. Default: 1 for type page, 0 for type offset. A parameter of that name in the
    /// query comes before it.
    #[serde(default)]
    #[schemars(with = "u64")]
    pub start: Option<u64>,
    /// The parameter that says how long a page is. Default: limit for type offset, none for type page.
    #[serde(default)]
    #[schemars(with = "String")]
    pub size_param: Option<String>,
    /// How many items to ask for per page.
    #[serde(default)]
    #[schemars(with = "u64", range(min = 1))]
    pub size: Option<u64>,
    /// Requests at most, 1 to 1,000.
    #[serde(default = "pages_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_pages: u64,
    /// Items at most, 1 to 1,000,000.
    #[serde(default = "items_max")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_items: u64,
}

fn pages_max() -> u64 {
    10
}

fn items_max() -> u64 {
    10_000
}

/// What leads to the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The Link header with rel=next.
    Link,
    /// A value of the page before.
    Cursor,
    /// The number of the page.
    Page,
    /// The number of items before.
    Offset,
}

/// Where a parameter is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParamPlace {
    /// In the query.
    #[default]
    Query,
    /// In the JSON or form body.
    Body,
}

/// Asks for pages until there is no reason to go on.
pub(crate) fn run(
    pagination: &Pagination,
    settings: &ResponseSettings,
    outgoing: Outgoing<'_>,
    sender: &Sender<'_>,
) -> Result<Json, Failure> {
    pagination.check(settings, &outgoing)?;
    let mut walk = Walk::start(pagination, outgoing, sender)?;
    let mut sink = Sink { host: sender.host, way: Way::Unknown, count: 0 };
    let mut pages = 0;
    loop {
        pages += 1;
        let on_page = |failure| on_page(failure, pages);
        let mut response = sender.send(walk.next.clone()).map_err(on_page)?;
        settings.admit(&mut response, 300).map_err(on_page)?;
        let body = settings.read(&mut response).map_err(on_page)?;
        let content = settings.content(response.status, &response.headers, &body).map_err(on_page)?;
        let page = match content {
            Content::Json(page) => page,
            // A 204, or a server that says nothing about nothing.
            Content::Empty => "null".into(),
            _ => return Err(on_page(Failure::upstream("the answer is not JSON"))),
        };
        let items = pagination.items(&page).map_err(on_page)?;
        let room = pagination.max_items - sink.count;
        for item in items.iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            sink.push(item.get())?;
        }
        if items.len() as u64 > room {
            return Ok(sink.result(pages, Some(walk.place(room))));
        }
        if !walk.step(pagination, &response, &page, items.len(), sender).map_err(on_page)? {
            return Ok(sink.result(pages, None));
        }
        if sink.count == pagination.max_items || pages == pagination.max_pages {
            return Ok(sink.result(pages, Some(walk.place(0))));
        }
    }
}

impl Pagination {
    fn check(&self, settings: &ResponseSettings, outgoing: &Outgoing<'_>) -> Result<(), Failure> {
        let wrong = |what: &str| Err(Failure::InvalidConfig(what.to_owned()));
        let in_body = self.place == ParamPlace::Body;
        let counting = self.start.is_some() || self.size.is_some() || self.size_param.is_some();
        match self.style {
            _ if settings.extract.is_some() => {
                wrong("response.extract and pagination exclude each other; use pagination.items")
            }
            _ if matches!(settings.read_as, As::Text | As::Bytes) => {
                wrong("pagination needs JSON, and response.as wants something else")
            }
            _ if !(1..=1000).contains(&self.max_pages) => wrong("pagination.max_pages must be 1 to 1000"),
            _ if !(1..=1_000_000).contains(&self.max_items) => {
                wrong("pagination.max_items must be 1 to 1000000")
            }
            Style::Cursor if self.cursor.is_none() || self.items.is_none() => {
                wrong("pagination of type cursor needs cursor and items")
            }
            Style::Page | Style::Offset | Style::Link if self.cursor.is_some() || in_body => {
                wrong("pagination.cursor and pagination.in are for type cursor only")
            }
            Style::Link if self.param.is_some() => wrong("pagination.param is not for type link"),
            Style::Link | Style::Cursor if counting => {
                wrong("pagination.start, size and size_param are for types page and offset; use query")
            }
            _ if self.size_param.is_some() && self.size.is_none() => {
                wrong("pagination.size_param needs size")
            }
            Style::Page if self.size.is_some() && self.size_param.is_none() => {
                wrong("pagination.size needs size_param")
            }
            _ if in_body && matches!(outgoing.method.as_str(), "GET" | "HEAD") => {
                wrong("pagination.in is body, and a GET or HEAD request has none")
            }
            _ => Ok(()),
        }
    }

    fn param(&self) -> &str {
        let default = match self.style {
            Style::Page => "page",
            Style::Offset => "offset",
            Style::Cursor | Style::Link => "cursor",
        };
        self.param.as_deref().unwrap_or(default)
    }

    fn items<'p>(&self, page: &'p str) -> Result<Vec<&'p RawValue>, Failure> {
        let (list, place) = match &self.items {
            Some(place) => (place.find(page), place.to_string()),
            None => (Some(page), String::new()),
        };
        // Null is how some servers write an empty list, and `null` is what a page without a body is.
        let list = if page == "null" { Some(page) } else { list };
        match list.map(serde_json::from_str::<Option<Vec<&RawValue>>>) {
            Some(Ok(items)) => Ok(items.unwrap_or_default()),
            _ if place.is_empty() => Err(Failure::upstream("the answer is no list; set pagination.items")),
            _ => Err(Failure::upstream(format!("the answer has no list at '{place}'"))),
        }
    }
}

/// The next request, and what it was made of.
struct Walk<'a> {
    next: Outgoing<'a>,
    style: Style,
    counter: u64,
    /// The cursor, as JSON, or the URL that leads to the next page.
    last: String,
}

impl<'a> Walk<'a> {
    fn start(pagination: &Pagination, mut next: Outgoing<'a>, sender: &Sender<'_>) -> Result<Self, Failure> {
        let param = pagination.param();
        let default = if pagination.style == Style::Page { 1 } else { 0 };
        let mut counter = pagination.start.unwrap_or(default);
        // The caller may go on where another call has ended.
        let first = sender.url(&next)?;
        let own = url::parameter(&first, param);
        let mut last = String::new();
        match pagination.style {
            Style::Link => {
                last.clone_from(&first);
                next.url = Some(first);
            }
            Style::Cursor if pagination.place == ParamPlace::Body => {
                last = next
                    .body
                    .as_ref()
                    .and_then(|body| cursor_in(body, next.format, param))
                    .unwrap_or_default();
            }
            Style::Cursor => own.iter().for_each(|own| push_string(&mut last, own)),
            Style::Page | Style::Offset => {
                if let Some(own) = own {
                    let text = format!("the parameter '{param}' must be a number to count pages from");
                    counter = own.parse().map_err(|_| sender.blame(&["query", "path"], text))?;
                }
                next.query.set(param, counter.to_string());
                if let Some(size) = pagination.size {
                    next.query.set(pagination.size_param.as_deref().unwrap_or("limit"), size.to_string());
                }
            }
        }
        Ok(Self { next, style: pagination.style, counter, last })
    }

    /// Where the next request begins, as JSON, if `taken` items of its page are not wanted again.
    fn place(&self, taken: u64) -> String {
        match self.style {
            Style::Page => self.counter.to_string(),
            Style::Offset => self.counter.saturating_add(taken).to_string(),
            Style::Cursor if self.last.is_empty() => "null".into(),
            Style::Cursor => self.last.clone(),
            Style::Link => {
                let origin = url::Base::parse(self.next.base_url).map_or(0, |base| base.origin.len());
                let mut place = String::new();
                push_string(&mut place, self.last.get(origin..).unwrap_or_default());
                place
            }
        }
    }

    /// Makes the request for the page after `page`; `false` if there is none.
    fn step(
        &mut self,
        pagination: &Pagination,
        response: &Response,
        page: &str,
        items: usize,
        sender: &Sender<'_>,
    ) -> Result<bool, Failure> {
        let next = match self.style {
            // Where nothing is said about a next page, an empty one is the last.
            Style::Page | Style::Offset if items == 0 => return Ok(false),
            Style::Link => link::next(&response.headers),
            Style::Cursor => pagination.cursor.as_ref().and_then(|place| place.find(page)).and_then(usable),
            Style::Page | Style::Offset => {
                self.counter =
                    self.counter.saturating_add(if self.style == Style::Page { 1 } else { items as u64 });
                self.next.query.set(pagination.param(), self.counter.to_string());
                return Ok(true);
            }
        };
        let Some(next) = next else { return Ok(false) };
        let last = if self.style == Style::Link {
            let url = link::resolve(self.next.base_url, &self.last, &next)?;
            self.next.url = Some(url.clone());
            url
        } else {
            self.set_cursor(pagination, &next, sender)?;
            next
        };
        if last == self.last {
            return Err(Failure::upstream("the next page is the same again"));
        }
        self.last = last;
        Ok(true)
    }

    fn set_cursor(
        &mut self,
        pagination: &Pagination,
        cursor: &str,
        sender: &Sender<'_>,
    ) -> Result<(), Failure> {
        let param = pagination.param();
        if pagination.place == ParamPlace::Query {
            let Value::Text(text) = Value::of(cursor) else {
                return Err(Failure::upstream("the cursor is neither text nor a number"));
            };
            self.next.query.set(param, text.into_owned());
            return Ok(());
        }
        if self.next.body.is_none() {
            self.next.format = Format::Bare(BodyType::Json);
        }
        let body = self.next.body.get_or_insert_with(|| Json::from_text("{}".into()));
        let wrong = |text: String| sender.blame(&["body"], text);
        let place = place_in(self.next.format, param)
            .ok_or_else(|| wrong("pagination.in is body, which is neither JSON nor a form".into()))?;
        let with = with_member(body.as_str(), &place, cursor)
            .ok_or_else(|| wrong(format!("the body has no object in which '{param}' could be set")))?;
        *body = Json::from_text(with);
        Ok(())
    }
}

/// Where `param` is in a body that is written so; none if it can be nowhere.
fn place_in(format: Format, param: &str) -> Option<Vec<String>> {
    let inner = match format {
        Format::Bare(BodyType::Json | BodyType::Form) => None,
        Format::Typed(Kind::Json) => Some("data"),
        Format::Typed(Kind::Form | Kind::Multipart) => Some("fields"),
        Format::Bare(_) | Format::Typed(_) => return None,
    };
    let place = match Pointer::parse(param) {
        Ok(place) => place.tokens().to_vec(),
        Err(_) => vec![param.to_owned()],
    };
    Some(inner.map(str::to_owned).into_iter().chain(place).collect())
}

/// The cursor that a body has from the start.
fn cursor_in(body: &Json, format: Format, param: &str) -> Option<String> {
    let place = place_in(format, param)?;
    let found = place.iter().try_fold(body.as_str().trim_ascii(), |value, token| member(value, token))?;
    usable(found)
}

/// The cursor as it goes on, unless it says that there is none.
fn usable(cursor: &str) -> Option<String> {
    (!matches!(cursor, "null" | "false" | "\"\"")).then(|| cursor.to_owned())
}

/// Where items go.
struct Sink<'h> {
    host: &'h dyn Host,
    way: Way,
    count: u64,
}

enum Way {
    /// Not one item so far.
    Unknown,
    Streamed,
    /// The list, without its end.
    Collected(String),
}

impl Sink<'_> {
    fn push(&mut self, item: &str) -> Result<(), Failure> {
        self.count += 1;
        if let Way::Collected(list) = &mut self.way {
            list.push(',');
            list.push_str(item);
            return Ok(());
        }
        self.way = match (self.host.emit(&Json::from_text(item.to_owned())), &self.way) {
            (Ok(()), _) => Way::Streamed,
            (Err(HostError::Unsupported(_)), Way::Unknown) => Way::Collected(format!("[{item}")),
            (Err(error), _) => return Err(error.into()),
        };
        Ok(())
    }

    /// The result; truncated, if it goes on at `next`.
    fn result(self, pages: u64, next: Option<String>) -> Json {
        let items = match self.way {
            Way::Streamed => format!("\"emitted\":{}", self.count),
            Way::Collected(list) => format!("\"items\":{list}]"),
            Way::Unknown => "\"items\":[]".to_owned(),
        };
        let end = match next {
            Some(next) => format!("true,\"next\":{next}"),
            None => "false".to_owned(),
        };
        Json::from_text(format!("{{{items},\"pages\":{pages},\"truncated\":{end}}}"))
    }
}

/// Says which page it was, where a failure has a text and the page is to blame.
fn on_page(failure: Failure, page: u64) -> Failure {
    let named = |text: String| format!("page {page}: {text}");
    match failure {
        Failure::InvalidConfig(text) => Failure::InvalidConfig(text),
        Failure::InvalidInput(text) => Failure::InvalidInput(text),
        Failure::Unauthenticated(text) => Failure::Unauthenticated(named(text)),
        Failure::Denied(text) => Failure::Denied(named(text)),
        Failure::RateLimited(after) => Failure::RateLimited(after),
        Failure::Upstream(upstream) => {
            Failure::Upstream(UpstreamFailure { message: named(upstream.message), ..upstream })
        }
        Failure::Network(text) => Failure::Network(named(text)),
        Failure::Timeout(text) => Failure::Timeout(named(text)),
        Failure::Protocol(text) => Failure::Protocol(named(text)),
        Failure::LimitExceeded(text) => Failure::LimitExceeded(named(text)),
        Failure::Unsupported(text) => Failure::Unsupported(text),
    }
}
