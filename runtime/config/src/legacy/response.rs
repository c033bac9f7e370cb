//! What earlier versions said about an answer: `response_policy` and the fields beside it.
//!
//! | written | read as |
//! |---|---|
//! | `expected_status`, `response_format` of an action | `response.allowed_status`, `response.as` |
//! | `success_status` of `response_policy` | `allowed_status` |
//! | `transform_response` of it | nothing, if it is null; else it is refused, since it never did anything |
//!
//! Invariant: only a connector that has `response` is read this way, and a field it declares itself is its own.

use openact_core::schema::SchemaView;

use super::{Legacy, knows, take};
use crate::written::{Member, Written};

/// Fields beside `response` and their names within it.
const BESIDE: &[(&str, &str)] = &[("expected_status", "allowed_status"), ("response_format", "as")];

impl Legacy<'_> {
    /// The fields of an action, or of `defaults`, which `view` describes.
    pub(super) fn response(&mut self, members: &mut Vec<Member>, view: &SchemaView<'_>) {
        let Some(section) = view.property("response") else { return };
        let mut moved = Vec::new();
        for (beside, within) in BESIDE.iter().filter(|(beside, _)| !knows(view, beside)) {
            for mut member in take(members, beside).filter(|member| !member.is_null()) {
                member.key = (*within).to_owned();
                moved.push(member);
            }
        }
        let is_response = |member: &Member| matches!(member.key.as_str(), "response" | "response_policy");
        if let Some(first) = moved.first()
            && !members.iter().any(is_response)
        {
            let at = first.at.clone();
            members.push(Member { key: "response".into(), value: Written::Object(Vec::new()), at });
        }
        for member in members.iter_mut().filter(|member| is_response(member)) {
            if member.is_null() && !moved.is_empty() {
                member.value = Written::Object(Vec::new());
            }
            if let Some(mut fields) = member.take_members() {
                self.response_fields(&mut fields, &section);
                fields.append(&mut moved);
                member.value = Written::Object(fields);
            }
        }
    }

    fn response_fields(&mut self, fields: &mut Vec<Member>, section: &SchemaView<'_>) {
        if !knows(section, "transform_response") {
            for field in take(fields, "transform_response").filter(|field| !field.is_null()) {
                let hint = "remove it; response.extract: /data/items takes a part of a JSON answer";
                let message = "'transform_response' never did anything";
                self.problems.key(&field.at, message, Some(hint.into()));
            }
        }
        for field in fields.iter_mut().filter(|field| field.key == "success_status") {
            field.key = "allowed_status".into();
        }
    }
}
