//! The handle that tests hold: starts the simulator on a thread of its own and controls it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::data::change::Change;
use crate::data::dump::{self, DumpObject};
use crate::data::model::{Attribute, Kind, ObjectType, Schema};
use crate::data::view::Visibility;
use crate::data::world::World;
use crate::faults::Fault;
use crate::identity::Identity;
use crate::log::LogEntry;
use crate::render::Place;
use crate::server;
use crate::service::Service;
use crate::switches::{Profile, Switches};
use crate::{CLOUD_ID, WORKSPACE_ID};

/// How a simulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many objects the company has, over all types.
    pub objects: u64,
    /// Time before each answer.
    pub latency: Duration,
    /// The largest page of `object/aql`; 0: no cap.
    pub page_cap: u32,
    /// Where the switches begin.
    pub profile: Profile,
    /// Where the data begins: the same seed and number give the same objects.
    pub seed: u64,
    /// `object/aql` requests allowed in a minute for each identity; 0: no limit.
    pub requests_per_minute: u32,
    /// Pads objects with attributes to so many bytes of JSON.
    pub object_bytes: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            objects: 5000,
            latency: Duration::ZERO,
            page_cap: 100,
            profile: Profile::Documented,
            seed: 1,
            requests_per_minute: 0,
            object_bytes: None,
        }
    }
}

/// A running simulator. Dropping it closes every connection and ends its thread.
#[derive(Debug)]
pub struct Sim {
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Starts a simulator.
    ///
    /// # Errors
    /// The address cannot be listened on, or the thread or runtime cannot be made.
    pub fn start(options: Options) -> io::Result<Sim> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("assets-sim")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(options.listen))?;
        let place = Place {
            origin: format!("http://{}", listener.local_addr()?),
            workspace: WORKSPACE_ID.to_owned(),
        };
        let mut switches = Switches::of(options.profile);
        switches.latency_ms = options.latency.as_millis() as u64;
        switches.page_cap = options.page_cap;
        switches.aql_per_window = options.requests_per_minute;
        let world = World::new(options.seed, options.objects);
        let service = Arc::new(Service::new(world, switches, place, options.object_bytes));
        let (stop, stopped) = watch::channel(false);
        let serving = service.clone();
        let thread = std::thread::Builder::new().name("assets-sim".into()).spawn(move || {
            runtime.block_on(server::run(listener, serving, stopped));
            // Connections under way end with the runtime.
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Sim { service, stop, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`: the site, the gateway and the token endpoint are all served there.
    pub fn url(&self) -> String {
        self.service.place.origin.clone()
    }

    /// The workspace id.
    pub fn workspace_id(&self) -> &'static str {
        WORKSPACE_ID
    }

    /// The cloud id.
    pub fn cloud_id(&self) -> &'static str {
        CLOUD_ID
    }

    /// Who may ask, with which secret, and what each sees.
    pub fn identities(&self) -> &[Identity] {
        &self.service.identities
    }

    /// Every request so far, oldest first; also those that are not answered yet.
    pub fn log(&self) -> Vec<LogEntry> {
        self.service.log.lock().expect("log").entries()
    }

    /// Forgets the log and the largest number of requests under way.
    pub fn clear_log(&self) {
        self.service.log.lock().expect("log").clear();
    }

    /// The largest number of requests that were under way at once.
    pub fn max_in_flight(&self) -> usize {
        self.service.log.lock().expect("log").max_in_flight()
    }

    /// Changes switches, from the next request on.
    pub fn switches(&self, change: impl FnOnce(&mut Switches)) {
        let changed = self.service.switch(|switches| {
            change(switches);
            Ok(())
        });
        debug_assert!(changed.is_ok());
    }

    /// The switches as they are.
    pub fn current_switches(&self) -> Switches {
        (*self.service.switched().1).clone()
    }

    /// Sets a fault; several may be set, the first that strikes wins.
    pub fn fault(&self, fault: Fault) {
        self.service.faults.lock().expect("faults").add(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.service.faults.lock().expect("faults").clear();
    }

    /// Makes every access token handed out so far useless.
    pub fn expire_tokens(&self) {
        self.service.tokens.expire();
    }

    /// Applies a change and gives the key of the object, or the name of the type or attribute.
    ///
    /// # Errors
    /// What is to be changed does not exist, or cannot be changed so; nothing is changed then.
    pub fn apply(&self, change: &Change) -> Result<String, String> {
        self.service.apply(change)
    }

    /// Applies several changes at one moment: no request sees some of them without the others. Each gives what
    /// [`Sim::apply`] gives; one that fails takes none of the others back.
    pub fn together<T>(
        &self,
        work: impl FnOnce(&mut dyn FnMut(&Change) -> Result<String, String>) -> T,
    ) -> T {
        self.service.together(work)
    }

    /// Applies a change right after so many further answers of `object/aql`: 1 is after the next page.
    pub fn between_pages(&self, after: u32, change: Change) {
        self.service.between.lock().expect("changes").push((after.max(1), change));
    }

    /// Does several changes at one moment, as [`Sim::together`], right after so many further answers to searches
    /// and counts: 1 is after the next one. A test that repeats its requests repeats its changes.
    pub fn after_searches(
        &self,
        answers: u32,
        work: impl FnOnce(&mut dyn FnMut(&Change) -> Result<String, String>) + Send + 'static,
    ) {
        self.service.hooks.lock().expect("hooks").0.push((answers.max(1), Box::new(work)));
    }

    /// Forgets what [`Sim::after_searches`] asked for and is not done yet.
    pub fn clear_after_searches(&self) {
        self.service.hooks.lock().expect("hooks").0.clear();
    }

    /// Creates an object and gives its key. Several values of one attribute: list it several times.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn create(&self, object_type: &str, name: &str, values: &[(&str, &str)]) -> Result<String, String> {
        let values = values.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
        self.apply(&Change::Create { object_type: object_type.into(), name: name.into(), values })
    }

    /// Replaces the values of an attribute; none clears it.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn update(&self, key: &str, attribute: &str, values: &[&str]) -> Result<String, String> {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        self.apply(&Change::Update { key: key.into(), attribute: attribute.into(), values })
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn delete(&self, key: &str) -> Result<String, String> {
        self.apply(&Change::Delete { key: key.into() })
    }

    /// Renames an attribute.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn rename_attribute(&self, object_type: &str, attribute: &str, to: &str) -> Result<String, String> {
        self.apply(&Change::RenameAttribute {
            object_type: object_type.into(),
            attribute: attribute.into(),
            to: to.into(),
        })
    }

    /// Renames a type.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn rename_type(&self, object_type: &str, to: &str) -> Result<String, String> {
        self.apply(&Change::RenameType { object_type: object_type.into(), to: to.into() })
    }

    /// Adds a type without objects and gives its id.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn add_type(&self, schema: &str, name: &str, parent: Option<&str>) -> Result<String, String> {
        let parent = parent.map(str::to_owned);
        self.apply(&Change::AddType { schema: schema.into(), name: name.into(), parent })
    }

    /// Removes a type with its objects.
    ///
    /// # Errors
    /// As [`Sim::apply`]; it has children, or AQL lags behind.
    pub fn remove_type(&self, object_type: &str) -> Result<String, String> {
        self.apply(&Change::RemoveType { object_type: object_type.into() })
    }

    /// Describes an attribute, or the type itself.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn describe(&self, object_type: &str, attribute: Option<&str>, text: &str) -> Result<String, String> {
        let attribute = attribute.map(str::to_owned);
        self.apply(&Change::Describe { object_type: object_type.into(), attribute, text: text.into() })
    }

    /// Adds an attribute without values.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn add_attribute(
        &self,
        object_type: &str,
        name: &str,
        kind: Kind,
        multiple: bool,
    ) -> Result<String, String> {
        self.apply(&Change::AddAttribute {
            object_type: object_type.into(),
            name: name.into(),
            kind,
            multiple,
        })
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn remove_attribute(&self, object_type: &str, attribute: &str) -> Result<String, String> {
        self.apply(&Change::RemoveAttribute { object_type: object_type.into(), attribute: attribute.into() })
    }

    /// Changes what an attribute holds; its values stay as they are.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn change_kind(
        &self,
        object_type: &str,
        attribute: &str,
        kind: Kind,
        multiple: bool,
    ) -> Result<String, String> {
        self.apply(&Change::ChangeKind {
            object_type: object_type.into(),
            attribute: attribute.into(),
            kind,
            multiple,
        })
    }

    /// Gives an object another type.
    ///
    /// # Errors
    /// As [`Sim::apply`].
    pub fn move_object(&self, key: &str, to_type: &str) -> Result<String, String> {
        self.apply(&Change::MoveObject { key: key.into(), to_type: to_type.into() })
    }

    /// [`Change::MoveType`].
    pub fn move_type(&self, object_type: &str, parent: Option<&str>) -> Result<String, String> {
        self.apply(&Change::MoveType { object_type: object_type.into(), parent: parent.map(Into::into) })
    }

    /// Every object of a type itself, ascending by id: the ground truth, whatever the switches.
    pub fn dump(&self, type_id: u32) -> Vec<DumpObject> {
        self.dump_seen(type_id, &Visibility::default())
    }

    /// The part of a type's objects that an identity sees, by its name; empty if there is no such identity.
    pub fn dump_for(&self, identity: &str, type_id: u32) -> Vec<DumpObject> {
        let found = self.service.identities.iter().find(|i| i.name == identity);
        found.map_or_else(Vec::new, |i| self.dump_seen(type_id, &i.sees))
    }

    fn dump_seen(&self, type_id: u32, sees: &Visibility) -> Vec<DumpObject> {
        let world = self.service.world.read().expect("world");
        dump::of_type(world.live(sees), type_id)
    }

    /// One object by key or id.
    pub fn object(&self, key: &str) -> Option<DumpObject> {
        let world = self.service.world.read().expect("world");
        let everyone = Visibility::default();
        let view = world.live(&everyone);
        let entry = view.object_by_key(key).or_else(|| key.parse().ok().and_then(|id| view.object(id)))?;
        Some(dump::object(view, &entry))
    }

    /// How many objects a type has of its own.
    pub fn count(&self, type_id: u32) -> u64 {
        self.service.world.read().expect("world").live(&Visibility::default()).count_of(type_id)
    }

    /// The schemas.
    pub fn schemas(&self) -> Vec<Schema> {
        self.service.world.read().expect("world").catalog.schemas.clone()
    }

    /// The types of all schemas.
    pub fn types(&self) -> Vec<ObjectType> {
        self.service.world.read().expect("world").catalog.types.values().cloned().collect()
    }

    /// The id of a type by name, the lowest if the name is used twice.
    pub fn type_id(&self, name: &str) -> Option<u32> {
        self.service.world.read().expect("world").catalog.find_type(name).map(|t| t.id)
    }

    /// The attributes of a type, inherited ones first.
    pub fn attributes(&self, type_id: u32) -> Vec<Attribute> {
        let world = self.service.world.read().expect("world");
        world.catalog.effective(type_id).into_iter().cloned().collect()
    }

    /// A part of the configuration for a client with the classic credential: base of route A.
    pub fn gateway(&self) -> String {
        format!("{}/jsm/assets/workspace/{WORKSPACE_ID}/v1", self.url())
    }

    /// The base of route B, for scoped credentials.
    pub fn cloud_gateway(&self) -> String {
        format!("{}/ex/jira/{CLOUD_ID}/jsm/assets/workspace/{WORKSPACE_ID}/v1", self.url())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
