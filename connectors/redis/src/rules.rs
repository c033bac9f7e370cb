//! What a command is: refused, a read, something that stays behind in the session, or one that a list allows or denies.
//!
//! Names are those of Redis, without regard to case; what is not known here is a write that leaves nothing behind.
//!
//! Invariant: a name is looked at after templates are filled in, so that no variable goes around a list.

/// One command, ready to be sent.
pub type Arguments = Vec<Vec<u8>>;

/// Answered by more or less than one reply, or the host's own: after these, no reply would be the right one's.
const REFUSED: &[(&str, &str)] = &[
    ("AUTH", "the host logs in; set user and password on the connection"),
    ("HELLO", "the host logs in; set user, password and protocol on the connection"),
    ("CLIENT REPLY", "every command is answered here"),
    ("MONITOR", "an action has one answer; it cannot listen"),
    ("PSUBSCRIBE", "an action has one answer; it cannot listen"),
    ("PSYNC", "an action is no replica"),
    ("PUNSUBSCRIBE", "an action has one answer; it cannot listen"),
    ("QUIT", "the connection is closed by itself"),
    ("REPLCONF", "an action is no replica"),
    ("RESET", "it would log out, and what follows would be the default user's"),
    ("SSUBSCRIBE", "an action has one answer; it cannot listen"),
    ("SUBSCRIBE", "an action has one answer; it cannot listen"),
    ("SUNSUBSCRIBE", "an action has one answer; it cannot listen"),
    ("SYNC", "an action is no replica"),
    ("UNSUBSCRIBE", "an action has one answer; it cannot listen"),
];

/// What the next call would find in the session; such a session is closed.
const LEAVING_STATE: &[&str] = &[
    "ASKING",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "FAILOVER",
    "MULTI",
    "READONLY",
    "READWRITE",
    "SCRIPT DEBUG",
    "SELECT",
    "SHUTDOWN",
    "UNWATCH",
    "WATCH",
];

/// What runs other commands, which no list sees.
const RUNNING_OTHERS: &[&str] = &["EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"];

/// What may be sent a second time: it changes nothing. Sorted.
const READS: &[&str] = &[
    "BITCOUNT",
    "BITFIELD_RO",
    "BITPOS",
    "DBSIZE",
    "DUMP",
    "ECHO",
    "EVALSHA_RO",
    "EVAL_RO",
    "EXISTS",
    "EXPIRETIME",
    "FCALL_RO",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEORADIUSBYMEMBER_RO",
    "GEORADIUS_RO",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HRANDFIELD",
    "HSCAN",
    "HSTRLEN",
    "HVALS",
    "INFO",
    "KEYS",
    "LCS",
    "LINDEX",
    "LLEN",
    "LOLWUT",
    "LPOS",
    "LRANGE",
    "MGET",
    "PEXPIRETIME",
    "PFCOUNT",
    "PING",
    "PTTL",
    "RANDOMKEY",
    "SCAN",
    "SCARD",
    "SDIFF",
    "SINTER",
    "SINTERCARD",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SORT_RO",
    "SRANDMEMBER",
    "SSCAN",
    "STRLEN",
    "SUBSTR",
    "SUNION",
    "TIME",
    "TTL",
    "TYPE",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREAD",
    "XREVRANGE",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTER",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
    "ZUNION",
];

/// The name of a command, and with its subcommand.
#[derive(Debug)]
pub struct Name {
    first: String,
    /// `CONFIG SET`; the first again if there is no second argument.
    both: String,
}

impl Name {
    /// Of a command.
    pub fn of(command: &[Vec<u8>]) -> Self {
        // No name is longer, and what is in no list need not be copied whole. Servers compare names as C does, up to a
        // zero byte.
        let word = |index: usize| {
            let bytes = command.get(index).map(Vec::as_slice).unwrap_or_default();
            let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes.get(..bytes.len().min(64)).unwrap_or_default()).to_ascii_uppercase()
        };
        let (first, second) = (word(0), word(1));
        let both = if second.is_empty() { first.clone() } else { format!("{first} {second}") };
        Self { first, both }
    }

    fn is_in(&self, names: &[&str]) -> bool {
        names.iter().any(|name| *name == self.first || *name == self.both)
    }

    /// Whether it changes nothing, so that it may be sent a second time.
    pub fn is_read(&self) -> bool {
        READS.binary_search(&self.first.as_str()).is_ok()
    }

    /// Whether the session is another one afterwards.
    pub fn leaves_state(&self) -> bool {
        self.is_in(LEAVING_STATE)
    }

    /// Whether it begins or ends a transaction, or has a say in one.
    pub fn is_of_transactions(&self) -> bool {
        self.is_in(&["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"])
    }

    /// Whether an entry of a list means it: `CONFIG`, `CONFIG SET`, `config|set`, `FT.*`, `CONFIG *`.
    fn fits(&self, entry: &str) -> bool {
        let entry = entry.trim().replace('|', " ").to_ascii_uppercase();
        let mut words = entry.split_ascii_whitespace();
        let own = [Some(self.first.as_str()), self.both.get(self.first.len() + 1..)];
        let first = words.next().unwrap_or_default();
        [Some(first), words.next()].into_iter().zip(own).all(|(wanted, own)| match (wanted, own) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(own)) => {
                wanted.strip_suffix('*').map_or(own == wanted, |beginning| own.starts_with(beginning))
            }
        })
    }
}

/// The lists of a connection or an action.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lists<'a> {
    /// If it has entries: nothing else.
    pub allow: &'a [String],
    /// None of these.
    pub deny: &'a [String],
}

impl Lists<'_> {
    /// Why a command is not to be sent. `configured` if what it runs is written in the configuration.
    pub fn admit(self, name: &Name, configured: bool) -> Result<(), String> {
        let denied = |why: &str| Err(format!("the command {} {why}", name.shown()));
        if let Some(entry) = self.deny.iter().find(|entry| name.fits(entry)) {
            return denied(&format!("is denied by '{entry}' in deny"));
        }
        let allowed = self.allow.iter().any(|entry| name.fits(entry));
        if !allowed && !self.allow.is_empty() {
            return denied("is not in allow; add it there if it is wanted");
        }
        if !allowed && !self.deny.is_empty() && !configured && name.is_in(RUNNING_OTHERS) {
            return denied("runs commands that deny does not see; use script, or name it in allow");
        }
        Ok(())
    }
}

/// Why no connection can do it.
pub fn refuse(name: &Name) -> Result<(), String> {
    match REFUSED.iter().find(|(refused, _)| *refused == name.first || *refused == name.both) {
        Some((refused, why)) => Err(format!("the command {refused} cannot be used: {why}")),
        None => Ok(()),
    }
}

impl Name {
    /// For messages: the second word may be a value, so only the first.
    fn shown(&self) -> String {
        self.first.chars().take(32).collect::<String>().escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_searched_as_a_sorted_list() {
        assert!(READS.is_sorted());
        assert!(!READS.iter().any(|read| LEAVING_STATE.contains(read)));
    }
}
