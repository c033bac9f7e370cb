//! Decimal128: 34 decimal digits and an exponent, as text and as the 16 bytes of BSON (IEEE 754-2008, binary integer
//! decimal).
//!
//! Invariant: no digit is lost. Text that would need rounding is refused.

const EXPONENT_BIAS: i32 = 6176;
const EXPONENT_MIN: i32 = -6176;
const EXPONENT_MAX: i32 = 6111;
const DIGITS_MAX: usize = 34;
/// 10^34 - 1
const COEFFICIENT_MAX: u128 = 9_999_999_999_999_999_999_999_999_999_999_999;

const SIGN: u128 = 1 << 127;
const INFINITY: u128 = 0b11110 << 122;
const NAN: u128 = 0b11111 << 122;
const SPECIAL: u128 = 0b11111 << 122;

/// The text of a number, by the specification of BSON's decimal128.
pub fn to_text(bits: u128) -> String {
    let sign = if bits & SIGN != 0 { "-" } else { "" };
    match bits & SPECIAL {
        NAN => return "NaN".into(),
        INFINITY => return format!("{sign}Infinity"),
        _ => {}
    }
    let (exponent, coefficient) = if bits >> 125 & 0b11 == 0b11 {
        // The coefficient would have more than 34 digits, which the standard takes for zero.
        (bits >> 111, 0)
    } else {
        (bits >> 113, bits & ((1 << 113) - 1))
    };
    let coefficient = if coefficient > COEFFICIENT_MAX { 0 } else { coefficient };
    let exponent = i32::try_from(exponent & 0x3fff).unwrap_or_default() - EXPONENT_BIAS;
    let digits = coefficient.to_string();
    let count = i32::try_from(digits.len()).unwrap_or_default();
    let adjusted = exponent + count - 1;
    if exponent > 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{adjusted:+}");
    }
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let whole = count + exponent;
    if let Some((before, after)) = usize::try_from(whole).ok().and_then(|at| digits.split_at_checked(at)) {
        let before = if before.is_empty() { "0" } else { before };
        return format!("{sign}{before}.{after}");
    }
    let zeros = "0".repeat(whole.unsigned_abs() as usize);
    format!("{sign}0.{zeros}{digits}")
}

/// The number of a text; none if it is none, or has more digits than are kept.
pub fn of_text(text: &str) -> Option<u128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (SIGN, rest),
        None => (0, text.strip_prefix('+').unwrap_or(text)),
    };
    if ["inf", "infinity"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Some(sign | INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(NAN);
    }
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits = digits.trim_start_matches('0');
    let (coefficient, exponent) = fit(digits, exponent)?;
    let biased = u128::try_from(exponent + EXPONENT_BIAS).ok()?;
    Some(sign | biased << 113 | coefficient)
}

/// Digits and exponent within their ranges, with zeros added or taken away at the end.
fn fit(digits: &str, exponent: i32) -> Option<(u128, i32)> {
    if digits.is_empty() {
        return Some((0, exponent.clamp(EXPONENT_MIN, EXPONENT_MAX)));
    }
    let surplus = i32::try_from(digits.len().saturating_sub(DIGITS_MAX)).ok()?;
    let too_small = EXPONENT_MIN.checked_sub(exponent)?.max(0);
    let dropped = surplus.max(too_small);
    let (kept, zeros) =
        digits.split_at_checked(digits.len().checked_sub(dropped.unsigned_abs() as usize)?)?;
    if kept.is_empty() || !zeros.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let exponent = exponent.checked_add(dropped)?;
    let added = exponent.checked_sub(EXPONENT_MAX)?.max(0);
    if kept.len().checked_add(added.unsigned_abs() as usize)? > DIGITS_MAX {
        return None;
    }
    let coefficient: u128 = format!("{kept}{}", "0".repeat(added.unsigned_abs() as usize)).parse().ok()?;
    Some((coefficient, exponent - added))
}
