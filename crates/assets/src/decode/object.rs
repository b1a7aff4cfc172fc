//! One object of a page into one row.

use super::attribute::Attributes;
use super::json::{Members, Read, Reader, told, wrong};
use super::member::Member;
use super::scalar::Scalar;
use super::whole::Whole;
use super::{Definition, Definitions, Layout, Place};
use crate::value::{Field, Row, Value};

/// What reading an object needs to know.
pub(super) struct Context<'a> {
    pub(super) layout: &'a Layout,
    pub(super) at: &'a Place,
    pub(super) page: Option<&'a Definitions>,
    pub(super) known: &'a Definitions,
}

impl Context<'_> {
    pub(super) fn definition(&self, id: i64) -> Option<&Definition> {
        self.page.and_then(|page| page.get(&id)).or_else(|| self.known.get(&id))
    }
}

/// Memory that is used again from object to object.
#[derive(Default)]
pub(super) struct Scratch<'de> {
    /// Values of the attribute that is being read.
    pub(super) members: Vec<Member<'de>>,
    /// Where the values of the attribute that is being read stand.
    pub(super) lists: Vec<Reader<'de>>,
    /// Attributes met in the object that is being read, and where their values stand.
    pub(super) seen: Vec<(i64, Reader<'de>)>,
    /// The same, those without values too.
    pub(super) met: Vec<i64>,
    /// What stands where the id of an attribute of this object should.
    pub(super) unplaced: Option<String>,
    /// The types of the page's objects, each once, where they are looked at.
    pub(super) types: Vec<(i64, Box<str>)>,
}

#[derive(Default)]
struct Fixed<'de> {
    id: Option<i64>,
    key: Option<Scalar<'de>>,
    label: Option<Scalar<'de>>,
    object_type: Option<[Scalar<'de>; 2]>,
    created: Option<Scalar<'de>>,
    updated: Option<Scalar<'de>>,
}

/// Reads the object that is next: its row, and a lower bound of the heap that the row holds.
pub(super) fn read<'de>(
    reader: &mut Reader<'de>,
    cx: &Context<'_>,
    scratch: &mut Scratch<'de>,
) -> Read<(Row, usize)> {
    let layout = cx.layout;
    let mut fixed = Fixed::default();
    let mut values = vec![Value::Null; layout.columns.len()];
    let mut whole = layout.whole.then(|| Whole::new(cx));
    let mut attributes = false;
    scratch.seen.clear();
    scratch.met.clear();
    scratch.unplaced = None;
    reader.object("an object with `id` and `objectKey`")?;
    while let Some(name) = reader.member()? {
        match &*name {
            b"id" => {
                cx.at.member("id");
                let scalar = reader.scalar()?;
                let id = scalar.id().ok_or_else(|| wrong(format!("not an object id: {}", scalar.brief())))?;
                once(&mut fixed.id, id)?;
            }
            b"objectKey" => {
                cx.at.member("objectKey");
                once(&mut fixed.key, reader.scalar()?)?;
            }
            b"label" if layout.wants(Field::Label) => {
                cx.at.member("label");
                told(&mut fixed.label, reader.any()?);
            }
            b"objectType" if layout.reads_types() => {
                cx.at.member("objectType");
                // One that is a text would be its name.
                let [id, name] = match reader.fields(["id", "name"])? {
                    Members::Null => Default::default(),
                    Members::Read(members) => members,
                    Members::Other(other) => [Scalar::Null, other],
                };
                let [mut ids, mut names] =
                    fixed.object_type.take().map_or([None, None], |both| both.map(Some));
                told(&mut ids, id);
                told(&mut names, name);
                fixed.object_type = Some([ids.unwrap_or_default(), names.unwrap_or_default()]);
            }
            b"created" if layout.wants(Field::Created) => {
                cx.at.member("created");
                told(&mut fixed.created, reader.any()?);
            }
            b"updated" if layout.wants(Field::Updated) => {
                cx.at.member("updated");
                told(&mut fixed.updated, reader.any()?);
            }
            b"attributes" if layout.needs_attributes() => {
                cx.at.member("attributes");
                if std::mem::replace(&mut attributes, true) {
                    return Err(wrong("stands there twice"));
                }
                let mut all = Attributes { cx, scratch, values: &mut values, whole: whole.as_mut() };
                all.read(reader)?;
                all.doubt();
            }
            _ => {
                cx.at.member("");
                reader.skip()?;
            }
        }
    }
    cx.at.member("");
    let id = fixed.id.ok_or_else(|| wrong("missing field `id`"))?;
    cx.at.member("objectKey");
    let key = match &fixed.key {
        Some(Scalar::Text(text)) if !text.is_empty() => text,
        _ => return Err(wrong("missing, or not text")),
    };
    if key.bytes().any(|b| b < 0x20) {
        return Err(wrong("holds a control character"));
    }
    let key: Box<str> = key.as_ref().into();
    if layout.needs_attributes() && !attributes {
        cx.at.member("attributes");
        return Err(wrong("missing, although attributes were asked for"));
    }
    if let Some([id, name]) = &fixed.object_type
        && layout.watches_types()
        && let Some(id) = id.id()
    {
        let name = name.text();
        if !scratch.types.iter().any(|(known, called)| *known == id && **called == *name) {
            scratch.types.push((id, name.into()));
        }
    }
    cx.at.member("");
    fixed.place(cx, id, &key, whole, &mut values);
    let heap = key.len() + values.len() * size_of::<Value>() + values.iter().map(heap_of).sum::<usize>();
    Ok((Row { id, key, values }, heap + size_of::<Row>()))
}

pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Read<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong("stands there twice")),
    }
}

/// Which object the next one is, for the message that it cannot be read: its key, else its id.
pub(super) fn name(mut reader: Reader<'_>) -> Option<String> {
    let Members::Read(said) = reader.fields(["objectKey", "id"]).ok()? else { return None };
    said.into_iter().find(|scalar| matches!(scalar, Scalar::Text(text) if !text.is_empty())).map(|scalar| {
        let text: String = scalar.text().chars().filter(|c| !c.is_control()).take(100).collect();
        format!("object {text}")
    })
}

impl Fixed<'_> {
    /// The fixed parts into their columns.
    fn place(&self, cx: &Context<'_>, id: i64, key: &str, whole: Option<Whole<'_>>, values: &mut [Value]) {
        let mut whole = whole.map(Whole::finish);
        let read = |scalar: &Option<Scalar<'_>>, decode| match scalar {
            Some(scalar) => scalar.decode(decode),
            None => Value::Null,
        };
        // Whatever the column is, it is a moment.
        let stamp = |scalar: &Option<Scalar<'_>>, decode| match scalar {
            Some(scalar) => scalar.clone().stamp().decode(decode),
            None => Value::Null,
        };
        for (i, field) in &cx.layout.fields {
            let column = &cx.layout.columns[*i];
            let value = match field {
                Field::Id => Scalar::Int(id).decode(column.decode),
                Field::Key => Scalar::Text(key.into()).decode(column.decode),
                Field::Label => read(&self.label, column.decode),
                Field::ObjectType => match &self.object_type {
                    Some([_, name]) => name.decode(column.decode),
                    None => Value::Null,
                },
                Field::ObjectTypeId => match self.object_type.as_ref().and_then(|[id, _]| id.id()) {
                    Some(id) => Value::Int(id),
                    None => Value::Null,
                },
                Field::Created => stamp(&self.created, column.decode),
                Field::Updated => stamp(&self.updated, column.decode),
                Field::Url => match &cx.layout.site {
                    Some(site) => Scalar::Text(format!("{site}/jira/servicedesk/assets/object/{id}").into())
                        .decode(column.decode),
                    None => Value::Null,
                },
                Field::Attributes => whole.clone().unwrap_or(Value::Null),
            };
            values[*i] = if column.array { listed(value) } else { value };
        }
        whole.take();
    }
}

fn listed(value: Value) -> Value {
    match value {
        Value::Null | Value::Invalid(_) => value,
        one => Value::Array(vec![one]),
    }
}

fn heap_of(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Array(list) => list.len() * size_of::<Value>() + list.iter().map(heap_of).sum::<usize>(),
        Value::Invalid(invalid) => invalid.text.len() + invalid.why.len(),
        _ => 0,
    }
}
