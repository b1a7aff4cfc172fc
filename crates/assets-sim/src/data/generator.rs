//! Objects computed from (seed, index): nothing about a generated object is stored, so a million cost nothing.
//!
//! Types are dealt over the indexes in a fixed cycle of 100 slots, so ids of all types interleave, and both ways
//! between (type, ordinal) and index are arithmetic. Ids have gaps, as after deletions.

use super::catalog::Catalog;

use super::model::{Attribute, Value};
use super::words;
use crate::clock::{self, DAY_MS};

/// The id of the object with index 0.
pub const FIRST_ID: u64 = 1000;
const CYCLE: usize = 100;
/// 2019-01-07T08:15:30Z, when the company began to use Assets.
const FIRST_CREATED: i64 = 1_546_848_930_000;

/// Scatters the bits of a number.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How values of generated objects are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// Nothing is generated: system attributes, and attributes added while running.
    None,
    /// The label of its type's objects.
    Label(Style),
    Words(&'static [&'static str]),
    Edge,
    Long,
    Serial(&'static str),
    Int(i64, i64),
    IntEdge,
    Real(u32, u32),
    RealEdge,
    Flag,
    Day,
    DayEdge,
    TimeOfDay,
    Moment,
    MomentEdge,
    Link(&'static str),
    Mail,
    Ip,
    Reference,
    Person,
    Team,
    State,
}

/// How labels of a type look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Style {
    /// `prefix-00001`, with some that hold quotes, blanks, other cases, and some repeated ones.
    Host(&'static str),
    /// As `Host`, with the prefix of the type: children share the label attribute of their parent.
    Hardware,
    Person,
    /// A word, with a number from the second round on.
    Word(&'static [&'static str]),
    Edge,
    Net,
}

/// Pseudo random numbers (splitmix64), the same on every machine.
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
    fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len() as u64) as usize]
    }
}

/// Where generated objects come from.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    count: u64,
    slots: [u32; CYCLE],
    prefix: [u64; CYCLE],
    slots_of: Vec<(u32, Vec<u64>)>,
}

impl Generator {
    /// A generator of `count` objects; `weights` says how many of each hundred have a type (100 in all).
    pub fn new(seed: u64, count: u64, weights: &[(u32, usize)]) -> Generator {
        let mut deck: Vec<u32> = weights.iter().flat_map(|(t, n)| std::iter::repeat_n(*t, *n)).collect();
        assert_eq!(deck.len(), CYCLE, "the weights of the types add up to a cycle");
        let mut rng = Rng::new(0x5107);
        for i in (1..CYCLE).rev() {
            deck.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let mut slots = [0; CYCLE];
        let mut prefix = [0; CYCLE];
        let mut slots_of: Vec<(u32, Vec<u64>)> = weights.iter().map(|(t, _)| (*t, Vec::new())).collect();
        for (slot, type_id) in deck.into_iter().enumerate() {
            slots[slot] = type_id;
            let of = &mut slots_of.iter_mut().find(|(t, _)| *t == type_id).expect("a dealt type").1;
            prefix[slot] = of.len() as u64;
            of.push(slot as u64);
        }
        Generator { seed, count, slots, prefix, slots_of }
    }

    /// The id of the first object that can be created later.
    pub fn next_id(&self) -> u64 {
        id_of(self.count) + 1
    }

    /// The index behind an id, if it is a generated one.
    pub fn index(&self, id: u64) -> Option<u64> {
        let offset = id.checked_sub(FIRST_ID)?;
        let index = offset / 8 * 7 + offset % 8;
        (offset % 8 < 7 && index < self.count).then_some(index)
    }

    /// Type and ordinal within the type.
    pub fn place(&self, index: u64) -> (u32, u64) {
        let slot = (index % CYCLE as u64) as usize;
        let type_id = self.slots[slot];
        (type_id, index / CYCLE as u64 * self.of(type_id).len() as u64 + self.prefix[slot])
    }

    fn of(&self, type_id: u32) -> &[u64] {
        self.slots_of.iter().find(|(t, _)| *t == type_id).map_or(&[], |(_, slots)| slots)
    }

    /// How many generated objects a type has.
    pub fn count_of(&self, type_id: u32) -> u64 {
        let of = self.of(type_id);
        let rest = self.count % CYCLE as u64;
        self.count / CYCLE as u64 * of.len() as u64 + of.iter().filter(|slot| **slot < rest).count() as u64
    }

    /// The id of the object of a type with an ordinal below [`Generator::count_of`].
    pub fn id(&self, type_id: u32, ordinal: u64) -> u64 {
        let of = self.of(type_id);
        let n = of.len() as u64;
        id_of(ordinal / n * CYCLE as u64 + of[(ordinal % n) as usize])
    }

    /// The first ordinal of a type whose id is at least `id`.
    pub fn ordinal_from(&self, type_id: u32, id: u64) -> u64 {
        let (mut low, mut high) = (0, self.count_of(type_id));
        while low < high {
            let middle = (low + high) / 2;
            if self.id(type_id, middle) < id { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// When an object was created, epoch ms: rising with the id, but not strictly.
    pub fn created(&self, index: u64) -> i64 {
        let spread = 5 * 365 * DAY_MS / (self.count.max(1) as i64);
        FIRST_CREATED + (index as i64 / 3) * 3 * spread + (mix(self.seed ^ (index / 3)) % 1000) as i64
    }

    /// When an object was last changed, epoch ms.
    pub fn updated(&self, index: u64) -> i64 {
        let created = self.created(index);
        let random = mix(self.seed ^ index.wrapping_mul(31) ^ 0x55aa);
        if random.is_multiple_of(4) { created } else { created + (random % (700 * DAY_MS as u64)) as i64 }
    }

    /// The values of one attribute of one object.
    pub(crate) fn values(&self, catalog: &Catalog, attribute: &Attribute, index: u64, out: &mut Vec<Value>) {
        if attribute.source == Source::None {
            return;
        }
        let mut rng = Rng::new(mix(self.seed ^ mix(index ^ (u64::from(attribute.id) << 40))));
        if rng.below(100) >= u64::from(attribute.fill) {
            return;
        }
        let many = if attribute.multiple() { 1 + rng.below(4) } else { 1 };
        for _ in 0..many {
            let Some(value) = self.value(catalog, attribute, index, &mut rng) else { continue };
            if !out.contains(&value) {
                out.push(value);
            }
        }
    }

    fn value(&self, catalog: &Catalog, attribute: &Attribute, index: u64, rng: &mut Rng) -> Option<Value> {
        let text = |s: &str| Some(Value::Text(s.to_owned()));
        match attribute.source {
            Source::None => None,
            Source::Label(style) => {
                let (type_id, ordinal) = self.place(index);
                let style = if style == Style::Hardware { Style::Host(hardware(type_id)) } else { style };
                Some(Value::Text(label(style, ordinal, index, rng)))
            }
            Source::Words(pool) => text(rng.pick(pool)),
            Source::Edge => text(rng.pick(&words::EDGE)),
            Source::Long => Some(Value::Text(prose(rng))),
            Source::Serial(prefix) => Some(Value::Text(format!("{prefix}{:08}", self.place(index).1))),
            Source::Int(low, high) => Some(Value::Integer(low + rng.below((high - low + 1) as u64) as i64)),
            Source::IntEdge => Some(Value::Integer(rng.pick(&[
                0,
                -1,
                1,
                42,
                1000,
                -273,
                i64::MAX,
                i64::MIN,
                9_007_199_254_740_993,
                9_007_199_254_740_992,
                i64::from(i32::MAX) + 1,
            ]))),
            Source::Real(low, high) => {
                Some(Value::Double(f64::from(low) + rng.below(u64::from(high - low) * 100) as f64 / 100.0))
            }
            Source::RealEdge => Some(Value::Double(rng.pick(&[
                0.0,
                0.1,
                0.30000000000000004,
                -1.5,
                98.6,
                1e308,
                -1e-300,
                123_456_789.123_456_79,
                1e15,
                2.5,
            ]))),
            Source::Flag => Some(Value::Boolean(rng.below(3) > 0)),
            Source::Day => Some(Value::Date(clock::days(2015, 1, 1) + rng.below(3600) as i64)),
            Source::DayEdge => Some(Value::Date(match rng.below(8) {
                0 => clock::days(1, 1, 1),
                1 => clock::days(9999, 12, 31),
                2 => clock::days(1900, 2, 28),
                3 => clock::days(2024, 2, 29),
                _ => clock::days(1970, 1, 1) + rng.below(20_000) as i64,
            })),
            Source::TimeOfDay => Some(Value::Time(rng.below(24 * 60) as u32 * 60)),
            Source::Moment => Some(Value::DateTime(FIRST_CREATED + rng.below(1900 * DAY_MS as u64) as i64)),
            Source::MomentEdge => Some(Value::DateTime(match rng.below(8) {
                0 => clock::days(1, 1, 1) * DAY_MS,
                1 => clock::days(9999, 12, 31) * DAY_MS + DAY_MS - 1,
                2 => clock::days(2024, 2, 29) * DAY_MS + DAY_MS - 1,
                3 => 0,
                _ => rng.below(20_000 * DAY_MS as u64) as i64,
            })),
            Source::Link(host) => Some(Value::Text(match rng.below(5) {
                0 => format!("https://{host}.example.com/?q=a%20b&c=\"{index}\""),
                _ => format!("https://{host}.example.com/{index}"),
            })),
            Source::Mail => {
                let (first, last) = (rng.pick(&words::FIRST), rng.pick(&words::LAST));
                let clean = |s: &str| s.to_lowercase().replace([' ', '\''], "");
                Some(Value::Text(format!("{}.{}{index}@example.com", clean(first), clean(last))))
            }
            Source::Ip => Some(Value::Text(match rng.below(9) {
                0 => format!("2001:db8::{:x}:{:x}", rng.below(65_536), rng.below(65_536)),
                1 => format!("192.168.{}.{}", rng.below(256), rng.below(256)),
                _ => format!("10.{}.{}.{}", rng.below(256), rng.below(256), rng.below(256)),
            })),
            Source::Reference => {
                let mut targets = vec![attribute.target_type?];
                targets.extend(catalog.descendants(targets[0]));
                targets.retain(|t| self.count_of(*t) > 0);
                let target = *targets.get(rng.below(targets.len() as u64) as usize)?;
                Some(Value::Object(self.id(target, rng.below(self.count_of(target)))))
            }
            Source::Person => Some(Value::User(rng.below(catalog.users.len() as u64) as usize)),
            Source::Team => Some(Value::Group(rng.below(catalog.groups.len() as u64) as usize)),
            Source::State => {
                let allowed = &attribute.options;
                allowed.get(rng.below(allowed.len() as u64) as usize)?.parse().ok().map(Value::Status)
            }
        }
    }
}

fn id_of(index: u64) -> u64 {
    FIRST_ID + index / 7 * 8 + index % 7
}

/// Prefixes of the labels of pieces of hardware; see the types' ids in the company.
fn hardware(type_id: u32) -> &'static str {
    match type_id {
        11 => "srv",
        12 => "laptop",
        13 => "phone",
        14 => "switch",
        15 => "router",
        _ => "hw",
    }
}

fn label(style: Style, ordinal: u64, index: u64, rng: &mut Rng) -> String {
    match style {
        Style::Hardware => format!("hw-{ordinal:05}"),
        Style::Host(prefix) => match ordinal % 47 {
            5 => format!("{}-{ordinal:05}", prefix.to_uppercase()),
            11 => format!(" {prefix}-{ordinal:05} "),
            17 => format!("{prefix} \"{ordinal}\""),
            23 => format!("{prefix}\\{ordinal}"),
            29 => format!("{prefix}_100% {ordinal}"),
            31 => format!("{prefix} ünï 名前 {ordinal}"),
            37 => format!("{prefix}-primary"),
            41 => format!("{}-Primary", prefix.to_uppercase()),
            43 => format!("{prefix} (old), rack #{ordinal}; O'Hare"),
            _ => format!("{prefix}-{ordinal:05}"),
        },
        Style::Person => format!("{} {}", rng.pick(&words::FIRST), rng.pick(&words::LAST)),
        Style::Word(pool) => {
            let (round, word) = (ordinal / pool.len() as u64, pool[(ordinal % pool.len() as u64) as usize]);
            if round == 0 { word.to_owned() } else { format!("{word} {}", round + 1) }
        }
        Style::Edge => {
            let word = words::EDGE[(ordinal % words::EDGE.len() as u64) as usize];
            if word.trim().is_empty() { format!("specimen {ordinal}") } else { word.to_owned() }
        }
        Style::Net => format!("10.{}.{}.0/24", index / 256 % 256, index % 256),
    }
}

fn prose(rng: &mut Rng) -> String {
    let mut text = String::from("<p>");
    for i in 0..4 + rng.below(12) {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(match rng.below(6) {
            0 => rng.pick(&words::EDGE),
            1 => rng.pick(&words::CITIES),
            2 => rng.pick(&words::SYSTEMS),
            3 => "and then",
            4 => rng.pick(&words::APPS),
            _ => rng.pick(&words::LAST),
        });
    }
    text + "</p>"
}
