//! Every mistake of a body or a query at once, in our words. serde stops at the first, so each mistake that is found is replaced by a value
//! that passes and all is read again, until it passes or no value helps. `http::json` calls this for what it has refused already.

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use super::{query_of, shorten};
use crate::platform::error::{FieldCode, FieldError, Wrong};

/// Enough for every field of any body; whoever sends more mistakes hears of the first.
const TRIES_MAX: usize = 128;
/// Each try reads the whole again, and nobody's input may be read for long.
const READ_BYTES_MAX: usize = 64 * 1024;

/// One mistake, and the steps that lead to it: names may hold dots and brackets, so they cannot be told from the field's own.
#[derive(Debug, Clone)]
pub(super) struct Mistake {
    steps: Vec<String>,
    error: Box<FieldError>,
}

impl Mistake {
    pub(super) fn of<E: Display>(error: &serde_path_to_error::Error<E>) -> Self {
        let message = error.inner().to_string();
        let (mut steps, mut field) = (Vec::new(), String::new());
        for segment in error.path() {
            add(segment, &mut steps, &mut field);
        }
        let wrong = match named(&message) {
            Some((wrong, name)) => {
                // The path ends in a field that nobody knows wherever serde has read its name by then.
                if wrong != Wrong::Unknown || !ends_in(&steps, name) {
                    add(&Segment::Map { key: name.to_owned() }, &mut steps, &mut field);
                }
                wrong
            }
            None if is_too_deep(&message) => {
                // Where in the depths it was is no use to anybody.
                steps.truncate(1);
                field = steps.concat();
                Wrong::Format("is nested too deeply")
            }
            None => in_our_words(&message),
        };
        let field = if steps.is_empty() { "body".to_owned() } else { shorten(&field) };
        let shown: Vec<String> = steps.iter().map(|step| shorten(step)).collect();
        Self { error: Box::new(FieldError::at(field, &shown, wrong)), steps }
    }

    fn is_inside(&self, whole: &Self) -> bool {
        self.steps.len() > whole.steps.len() && self.steps.starts_with(&whole.steps)
    }
}

/// A name that holds a backquote is cut in serde's message.
fn ends_in(steps: &[String], name: &str) -> bool {
    steps.last().is_some_and(|last| last.split('`').next() == Some(name))
}

/// `inner.ids[0]` is `inner`, `ids`, `0`.
fn add(segment: &Segment, steps: &mut Vec<String>, field: &mut String) {
    match segment {
        Segment::Seq { index } => {
            field.push_str(&format!("[{index}]"));
            steps.push(index.to_string());
        }
        Segment::Map { key } | Segment::Enum { variant: key } => {
            if !steps.is_empty() {
                field.push('.');
            }
            field.push_str(key);
            steps.push(key.clone());
        }
        Segment::Unknown => {}
    }
}

/// For a field that is missing, unknown or doubled, serde puts the name into its message, in backquotes.
fn named(message: &str) -> Option<(Wrong, &str)> {
    let kinds = [
        ("missing field `", Wrong::Required),
        ("unknown field `", Wrong::Unknown),
        ("duplicate field `", Wrong::Duplicate),
    ];
    kinds.into_iter().find_map(|(prefix, wrong)| Some((wrong, message.strip_prefix(prefix)?.split('`').next()?)))
}

const TOO_LARGE: &str = "number out of range";

/// Whether it is a value of JSON, but a larger or deeper one than anybody reads: serde counts that to what is no JSON.
pub(super) fn is_beyond(cause: &serde_json::Error) -> bool {
    let message = cause.to_string();
    is_too_deep(&message) || message.starts_with(TOO_LARGE)
}

fn is_too_deep(message: &str) -> bool {
    message.starts_with("recursion limit exceeded")
}

fn in_our_words(message: &str) -> Wrong {
    if message.starts_with(TOO_LARGE) {
        return Wrong::Format("is out of range");
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let words = rest.split('`').skip(2).step_by(2).map(str::to_owned).collect();
        return Wrong::OneOf(words);
    }
    // The last one: what was sent stands before it, and may say the same.
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let expected = expected.split(" at line ").next().unwrap_or_default();
    match expected {
        "a string" | "a borrowed string" | "string" => Wrong::Type("a text"),
        "a boolean" => Wrong::Type("true or false"),
        "a sequence" => Wrong::Type("a list"),
        "a map" => Wrong::Type("an object"),
        text if text.starts_with("struct ") => Wrong::Type("an object"),
        text if text.contains("UUID") && message.starts_with("invalid type") => Wrong::Type("a UUID"),
        text if is_integer(text) && message.starts_with("invalid value") => Wrong::Format("is out of range"),
        text if is_integer(text) && is_beyond_integers(message) => Wrong::Format("is out of range"),
        text if is_integer(text) => Wrong::Type("a whole number"),
        "f32" | "f64" => Wrong::Type("a number"),
        _ if message.contains("float literal") => Wrong::Type("a number"),
        _ if message.contains("UUID") => Wrong::Format("is not a UUID"),
        _ if message.contains("datetime") || message.contains("date") => {
            Wrong::Format("is not a time or date of RFC 3339")
        }
        _ if message.contains("invalid digit") || message.contains("cannot parse integer") => {
            Wrong::Type("a whole number")
        }
        _ if message.contains("provided string was not `true` or `false`") => Wrong::Type("true or false"),
        _ if message.contains("number too") => Wrong::Format("is out of range"),
        _ => Wrong::Format("is not what this field takes"),
    }
}

fn is_integer(expected: &str) -> bool {
    matches!(expected, "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" | "an integer")
}

/// The parser takes what is larger than any integer for a number with a fraction.
fn is_beyond_integers(message: &str) -> bool {
    const FIRST: f64 = 9_223_372_036_854_775_808.0;
    let number = message.split('`').nth(1).and_then(|number| number.parse::<f64>().ok());
    message.contains("floating point") && number.is_some_and(|number| number.abs() >= FIRST)
}

/// What was sent, as it is put right field by field.
trait Draft {
    /// Sets what stands where a mistake is, or takes it away. `None`: there is no such place.
    fn put(&mut self, steps: &[String], filler: Option<Value>) -> Option<()>;
    /// The first mistake that there still is.
    fn mistake(&self) -> Option<Mistake>;
}

struct Body<T>(Value, PhantomData<T>);

impl<T: DeserializeOwned> Draft for Body<T> {
    fn put(&mut self, steps: &[String], filler: Option<Value>) -> Option<()> {
        put(&mut self.0, steps, filler)
    }

    fn mistake(&self) -> Option<Mistake> {
        let read = serde_path_to_error::deserialize::<_, T>(self.0.clone());
        read.err().map(|error| Mistake::of(&error))
    }
}

struct Pairs<T>(Vec<(String, String)>, PhantomData<T>);

impl<T: DeserializeOwned> Draft for Pairs<T> {
    fn put(&mut self, steps: &[String], filler: Option<Value>) -> Option<()> {
        let [field] = steps else { return None };
        let place = self.0.iter().position(|(name, _)| name == field);
        self.0.retain(|(name, _)| name != field);
        let text = match filler {
            None => return place.map(drop),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        self.0.insert(place.unwrap_or(self.0.len()), (field.clone(), text));
        Some(())
    }

    fn mistake(&self) -> Option<Mistake> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish();
        query_of::<T>(&query).err()
    }
}

/// The first mistake and all others that can be found behind it.
pub(super) fn of_body<T: DeserializeOwned>(bytes: &[u8], first: Mistake) -> Vec<FieldError> {
    match serde_json::from_slice(bytes) {
        Ok(body) => all(Body::<T>(body, PhantomData), first, bytes.len()),
        Err(_) => vec![*first.error],
    }
}

pub(super) fn of_query<T: DeserializeOwned>(query: &str, first: Mistake) -> Vec<FieldError> {
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    all(Pairs::<T>(pairs, PhantomData), first, query.len())
}

fn all(mut draft: impl Draft, first: Mistake, bytes: usize) -> Vec<FieldError> {
    let mut untried: HashMap<Vec<String>, VecDeque<Option<Value>>> = HashMap::new();
    let (mut found, mut mistake) = (vec![first.clone()], first);
    let tries = READ_BYTES_MAX.checked_div(bytes).unwrap_or(TRIES_MAX).clamp(1, TRIES_MAX);
    for _ in 0..tries {
        let fillers = untried.entry(mistake.steps.clone()).or_insert_with(|| fillers(&mistake.error));
        // One of the words that there are is known once a text was tried.
        fillers.extend(mistake.error.parameters.get("allowed").and_then(|words| words.get(0)).cloned().map(Some));
        let Some(filler) = fillers.pop_front() else { break };
        if draft.put(&mistake.steps, filler).is_none() {
            break;
        }
        let Some(next) = draft.mistake() else { break };
        if found.iter().all(|known| known.steps != next.steps) {
            found.push(next.clone());
        }
        mistake = next;
    }
    // What is inside of something that is missing or wrong as a whole was only looked for to get on.
    let wholes = found.clone();
    found.retain(|mistake| !wholes.iter().any(|whole| mistake.is_inside(whole)));
    // The document's order is that of what is there; what is missing comes after it.
    found.sort_by_key(|mistake| mistake.error.code == FieldCode::Required);
    found.into_iter().map(|mistake| *mistake.error).collect()
}

/// What a field may want: the right one of them gets serde past it. `None` takes it away.
fn fillers(mistake: &FieldError) -> VecDeque<Option<Value>> {
    if mistake.code == FieldCode::Unknown {
        return VecDeque::from([None]);
    }
    let uuid = json!("00000000-0000-7000-8000-000000000000");
    let (date, time) = (json!("2026-01-01"), json!("2026-01-01T00:00:00Z"));
    [json!("text"), json!(1), json!(true), json!([]), json!({}), uuid, date, time].map(Some).into()
}

/// Sets what stands at a place, or takes it away. `None`: there is no such place.
fn put(value: &mut Value, steps: &[String], filler: Option<Value>) -> Option<()> {
    let (step, rest) = steps.split_first()?;
    if rest.is_empty() {
        match (value, filler) {
            (Value::Object(map), Some(filler)) => drop(map.insert(step.clone(), filler)),
            (Value::Object(map), None) => drop(map.remove(step)),
            (Value::Array(list), Some(filler)) => *list.get_mut(step.parse::<usize>().ok()?)? = filler,
            _ => return None,
        }
        return Some(());
    }
    match value {
        Value::Object(map) => put(map.get_mut(step)?, rest, filler),
        Value::Array(list) => put(list.get_mut(step.parse::<usize>().ok()?)?, rest, filler),
        _ => None,
    }
}
