//! A file of age's own opens, and of what was changed by a bit nothing does. tests/it/roundtrip.rs asks age itself.

use super::*;

const IDENTITY: &str = "AGE-SECRET-KEY-1NE2W9UNDAF8LZ2A7PNA3UQ3F0GXM5Y9UN8WA0WXAJKAFSNFE8RGQGENP98";
const RECIPIENT: &str = "age1fmxpfgu47s35hevvphh22tjnhja8t3rd6ffw63u2s7u3huvy0fyq8d6wqp";
/// Written by age 0.12 (pyrage 1.4), a stanza of no meaning included.
const FILE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSB5dC9HT2xhNC9aVENHR0I4MUJjTkF4Z1d0UmltRFdqSXhOS2hJbmJZSDN3CkJvWmRSUzZlU3hpZ1VCSzBIaFl4UUlLMlh4QlhjakxsM2ZkeU9ZNncvc2cKLT4gRi1ncmVhc2UgUSRoIHk1aSlKXWogbDZIXXYgLUF2IWonCjgwSzB3ajFwMXVCRDFXK2NaY05xaG9SamhqaTFtcTNSYzNqU0F2anJybkZtS1Y2VGZON3REK0xXczJkYkQrcwotLS0gTFdNeVlScXk0SDYwSkpnbEFuc1EyV2dWMEZ3QTg5d2FZS3pqaGxSTnBaUQonFSeQFt7Zmnt6j2wGmBorVQUZHJcDv9JFVyYgpteGUqDQOdwb3d9gYIZ3zS+vSw==";

fn identities() -> Keys {
    Keys::Identities(Identity::read_all(&format!("# created: today\n\n{IDENTITY}\n")).unwrap())
}

fn recipients() -> Keys {
    Keys::Recipients(vec![RECIPIENT.parse().unwrap()])
}

fn bytes() -> Vec<u8> {
    stanza::unarmored(
        format!("-----BEGIN AGE ENCRYPTED FILE-----\n{FILE}\n-----END AGE ENCRYPTED FILE-----").as_bytes(),
    )
    .unwrap()
    .to_vec()
}

#[test]
fn a_file_of_age_opens() {
    assert_eq!(decrypt(&bytes(), &identities()).unwrap().expose_secret(), "connectors: {}\n");
    assert!(is_encrypted(&bytes()) && !wants_passphrase(&bytes()).unwrap());
    assert!(!is_encrypted(b"connectors: {}"));
}

#[test]
fn what_is_written_opens_again_whatever_its_length() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let text = "x".repeat(length);
        let file = encrypt(&text, &recipients()).unwrap();
        assert!(file.starts_with("-----BEGIN") && is_encrypted(file.as_bytes()));
        assert_eq!(decrypt(file.as_bytes(), &identities()).unwrap().expose_secret(), text);
    }
    let several = Keys::Recipients(vec![Recipient([9; 32]), RECIPIENT.parse().unwrap()]);
    let file = encrypt("t", &several).unwrap();
    assert_eq!(decrypt(file.as_bytes(), &identities()).unwrap().expose_secret(), "t");
    let passphrase = |text: &str| Keys::Passphrase(SecretString::from(text));
    let file = encrypt_with(b"t", &passphrase("correct horse"), 10).unwrap();
    assert!(wants_passphrase(&file).unwrap());
    assert_eq!(decrypt(&file, &passphrase("correct horse")).unwrap().expose_secret(), "t");
    for wrong in [passphrase("correct"), identities()] {
        assert!(decrypt(&file, &wrong).unwrap_err().message.contains("does not open"));
    }
    assert!(decrypt(&bytes(), &passphrase("x")).is_err());
    let hard = encrypt_with(b"t", &passphrase("p"), 2).unwrap();
    let harder = String::from_utf8_lossy(&hard[..80]).replacen(" 2\n", " 31\n", 1).into_bytes();
    let error = decrypt(&[&harder[..], &hard[80..]].concat(), &passphrase("p")).unwrap_err();
    assert!(error.message.contains("too much work"), "{error}");
}

#[test]
fn of_a_file_that_was_changed_nothing_opens() {
    let file = encrypt_with("x".repeat(CHUNK + 5).as_bytes(), &recipients(), 0).unwrap();
    let header = Header::read(&file).unwrap();
    let payload = file.len() - header.payload.len();
    let every_tenth = (payload..file.len()).step_by(997).chain([payload, payload + 15, file.len() - 1]);
    for at in (0..payload).chain(every_tenth) {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(decrypt(&changed, &identities()).is_err(), "{at}");
    }
    for length in (0..payload + 40).chain([payload + 16 + CHUNK + TAG, file.len() - 1]) {
        assert!(decrypt(&file[..length], &identities()).is_err(), "{length}");
    }
    assert!(decrypt(&[&file[..], b"x"].concat(), &identities()).is_err());
}

#[test]
fn keys_are_read_strictly_and_do_not_show() {
    assert!(RECIPIENT.to_ascii_uppercase().parse::<Recipient>().is_ok());
    let last = RECIPIENT.replace('q', "p");
    let mixed = RECIPIENT.replacen('f', "F", 1);
    for wrong in ["", "age1", "age1qqq", IDENTITY, &last, &mixed, &RECIPIENT[..61], "age1é"] {
        assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
    }
    for wrong in ["", "# only a comment", RECIPIENT, "AGE-SECRET-KEY-1"] {
        let error = Identity::read_all(wrong).unwrap_err();
        assert!(!format!("{error:?}").contains("SECRET-KEY-1N"), "{error:?}");
    }
    assert!(!format!("{:?}", identities()).contains(IDENTITY));
}

#[test]
fn a_header_has_few_stanzas_and_a_passphrase_is_alone() {
    let to = |count: usize| Keys::Recipients(vec![RECIPIENT.parse().unwrap(); count]);
    let most = encrypt_with(b"t", &to(stanza::STANZAS_MAX), 0).unwrap();
    assert_eq!(decrypt(&most, &identities()).unwrap().expose_secret(), "t");
    assert!(encrypt("t", &to(stanza::STANZAS_MAX + 1)).unwrap_err().message.contains("at most 64 keys"));
    // One more, which nothing was signed with, is refused before it is looked at.
    let (version, rest) = most.split_at(stanza::VERSION.len());
    let grease = b"-> x-grease\n\n";
    assert!(Header::read(&[version, grease, rest].concat()).is_err());
    let passphrase = encrypt_with(b"t", &Keys::Passphrase(SecretString::from("p")), 1).unwrap();
    assert!(wants_passphrase(&passphrase).unwrap());
    let (version, rest) = passphrase.split_at(stanza::VERSION.len());
    assert!(wants_passphrase(&[version, grease, rest].concat()).is_err());
    let one = encrypt_with(b"t", &to(1), 0).unwrap();
    let (version, rest) = one.split_at(stanza::VERSION.len());
    assert!(Header::read(&[version, grease, rest].concat()).is_ok());
}
