//! The table `run_checkpoints`: where a run that waits for somebody goes on.
//!
//! Invariant: a checkpoint holds no secret; whoever makes one keeps it in `secrets` and refers to it.

use openact_core::{Result, Timestamp, run::RunId};
use serde_json::Value;
use sqlx::FromRow;

use crate::{
    Store,
    rows::{Row, json_text, time_text},
};

/// A run that was paused.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The run.
    pub run_id: RunId,
    /// The state it was paused in.
    pub paused_state: String,
    /// What it knew.
    pub context: Value,
    /// What it waits for.
    pub await_meta: Option<Value>,
    /// When it was first paused.
    pub created_at: Timestamp,
    /// When this row was last written.
    pub updated_at: Timestamp,
    /// When it no longer counts.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Keeps a checkpoint, in place of an earlier one of the same run, whose `created_at` stays.
    pub async fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO run_checkpoints (run_id, paused_state, context_json, await_meta_json, created_at, updated_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (run_id) DO UPDATE SET paused_state = excluded.paused_state, context_json = excluded.context_json,
                 await_meta_json = excluded.await_meta_json, updated_at = excluded.updated_at, expires_at = excluded.expires_at",
        )
        .bind(checkpoint.run_id.to_string())
        .bind(&checkpoint.paused_state)
        .bind(json_text(&checkpoint.context)?)
        .bind(checkpoint.await_meta.as_ref().map(json_text).transpose()?)
        .bind(time_text(checkpoint.created_at))
        .bind(time_text(checkpoint.updated_at))
        .bind(checkpoint.expires_at.map(time_text))
        .execute(&mut *tx)
        .await
        .map_err(self.failed("write a checkpoint"))?;
        self.commit(tx).await
    }

    /// The checkpoint of a run, expired or not.
    pub async fn get_checkpoint(&self, run_id: RunId) -> Result<Option<Checkpoint>> {
        let row: Option<CheckpointRow> = sqlx::query_as(
            "SELECT run_id, paused_state, context_json, await_meta_json, created_at, updated_at, expires_at
             FROM run_checkpoints WHERE run_id = ?",
        )
        .bind(run_id.to_string())
        .fetch_optional(&self.0.readers)
        .await
        .map_err(self.failed("read a checkpoint"))?;
        row.map(CheckpointRow::record).transpose()
    }

    /// Deletes the checkpoint of a run; says whether there was one. Of two that resume a run, one is told so.
    pub async fn delete_checkpoint(&self, run_id: RunId) -> Result<bool> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query("DELETE FROM run_checkpoints WHERE run_id = ?")
            .bind(run_id.to_string())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete a checkpoint"))?;
        self.commit(tx).await?;
        Ok(deleted.rows_affected() > 0)
    }
}

#[derive(FromRow)]
struct CheckpointRow {
    run_id: String,
    paused_state: String,
    context_json: String,
    await_meta_json: Option<String>,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
}

impl CheckpointRow {
    fn record(self) -> Result<Checkpoint> {
        let row = Row { table: "run_checkpoints", key: &self.run_id };
        Ok(Checkpoint {
            run_id: row.parse("run_id", &self.run_id)?,
            context: row.json("context_json", &self.context_json)?,
            await_meta: self
                .await_meta_json
                .as_ref()
                .map(|text| row.json("await_meta_json", text))
                .transpose()?,
            created_at: row.parse("created_at", &self.created_at)?,
            updated_at: row.parse("updated_at", &self.updated_at)?,
            expires_at: self.expires_at.as_ref().map(|text| row.parse("expires_at", text)).transpose()?,
            paused_state: self.paused_state,
        })
    }
}
