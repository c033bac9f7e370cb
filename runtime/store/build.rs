//! Rebuilds the crate when a migration is added: `sqlx::migrate!` embeds the folder, and cargo cannot know of it.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
