//! Durations and byte sizes as people write them.

/// Milliseconds of "5m", "1h30m", "250ms", "1.5s" or "2d".
///
/// # Errors
/// What is wrong with the text, as a sentence.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    parse(text, &UNITS).ok_or_else(|| format!("`{text}` is no duration such as \"90s\", \"5m\" or \"1h30m\""))
}

/// Bytes of "10MiB", "64kB" or "512B".
///
/// # Errors
/// What is wrong with the text, as a sentence.
pub fn parse_byte_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("B", 1),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
    parse(text, &UNITS).ok_or_else(|| format!("`{text}` is no size such as \"512B\", \"64kB\" or \"10MiB\""))
}

/// Milliseconds of a value: a duration's text or whole milliseconds.
///
/// # Errors
/// What is wrong with the value, as a sentence.
pub fn duration_of(value: &serde_json::Value) -> Result<u64, String> {
    match value {
        serde_json::Value::String(text) => parse_duration(text),
        other => {
            other.as_u64().ok_or_else(|| "a duration is a text such as \"5m\", or milliseconds".to_owned())
        }
    }
}

/// The sum of `NUMBER UNIT` pairs, each unit at most once. Exact: no floats, fractions only where they come out whole.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at(letters);
        let (unit, factor) = units.iter().find(|(name, _)| *name == unit)?;
        if seen.contains(unit) {
            return None;
        }
        seen.push(unit);
        total = total.checked_add(scaled(number, *factor)?)?;
        rest = behind;
    }
    (!seen.is_empty()).then_some(total)
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    let Some((whole, fraction)) = number.split_once('.') else {
        return number.parse::<u64>().ok()?.checked_mul(factor);
    };
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
    if part % scale != 0 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(milliseconds), "{text}");
        }
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5m5m",
            "5min",
            "1.s",
            ".5s",
            "99999999999999999999d",
            "1.0001ms",
            "5M",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn byte_sizes() {
        for (text, bytes) in [("512B", 512), ("64kB", 64_000), ("10MiB", 10 << 20), ("1.5GiB", 3 << 29)] {
            assert_eq!(parse_byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "10mb", "10 MiB", "-1B"] {
            assert!(parse_byte_size(text).is_err(), "{text}");
        }
    }
}
