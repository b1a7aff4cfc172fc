//! The company: its schemas, types and attributes, and how the objects are dealt over the types.

use super::builder::Builder;
use super::catalog::Catalog;
use super::generator::{Rng, Source, Style};
use super::model::{Kind, ReferenceType, Schema, Status, User};
use super::words;

/// How many of each hundred objects have a type.
pub const WEIGHTS: [(u32, usize); 21] = [
    (11, 18),
    (12, 14),
    (13, 6),
    (14, 3),
    (15, 3),
    (16, 22),
    (17, 2),
    (18, 4),
    (19, 3),
    (20, 4),
    (21, 2),
    (22, 3),
    (23, 3),
    (24, 3),
    (25, 1),
    (26, 1),
    (40, 1),
    (41, 1),
    (42, 2),
    (43, 2),
    (60, 2),
];

/// When the company set up Assets, epoch ms.
pub(super) const MADE: i64 = 1_546_300_800_000;

/// Builds the company's catalog.
pub fn catalog() -> Catalog {
    let mut b = Builder::default();
    schemas_and_people(&mut b.catalog);
    itsm_hardware(&mut b);
    itsm_organisation(&mut b);
    itsm_software(&mut b);
    specimen(&mut b);
    facilities_and_services(&mut b);
    // References are named first and resolved here, because types refer to each other in circles.
    for (attribute, target) in std::mem::take(&mut b.targets) {
        let id = b.catalog.find_type(target).map(|t| t.id);
        b.catalog.attributes.get_mut(&attribute).expect("an attribute just added").target_type = id;
    }
    b.catalog
}

fn schemas_and_people(c: &mut Catalog) {
    let schema = |id, key: &str, name: &str, description: &str, services| Schema {
        id,
        key: key.into(),
        name: name.into(),
        description: description.into(),
        services,
        created: MADE,
        updated: MADE + 86_400_000 * i64::from(id),
    };
    c.schemas = vec![
        schema(1, "ITSM", "ITSM", "Everything with a power plug, and who owns it", false),
        schema(2, "FAC", "Facilities", "Where we work", false),
        schema(6, "SVC", "Services", "", true),
    ];
    let status = |id, name, category, schema_id| Status { id, name, category, schema_id };
    c.statuses = vec![
        status(1, "Action Needed", 2, None),
        status(2, "Active", 1, None),
        status(3, "Closed", 0, None),
        status(4, "In Service", 2, None),
        status(5, "Running", 1, None),
        status(6, "Stopped", 0, None),
        status(7, "Support Requested", 2, None),
        status(58, "Decommissioned", 0, Some(1)),
        status(59, "En réparation \"hors\"", 2, Some(1)),
        status(60, "Open", 1, Some(2)),
    ];
    let reference = |id, name, color, schema_id| ReferenceType { id, name, color, schema_id };
    c.reference_types = vec![
        reference(4, "Reference", "49a6ed", None),
        reference(5, "Dependency", "f6c342", None),
        reference(7, "Work At", "688E6E", Some(1)),
        reference(8, "Located In", "654321", Some(2)),
    ];
    c.groups =
        vec!["jira-users", "jira-admins", "IT Operations", "R&D \"lab\"", "service-desk", "Équipe réseau"];
    let mut rng = Rng::new(0x9e09);
    for i in 0..60 {
        let name = format!("{} {}", words::FIRST[i % 24], words::LAST[(i * 7 + i / 24) % 24]);
        let plain = name.to_lowercase().replace([' ', '\''], ".");
        c.users.push(User {
            account_id: format!("5b10{:016x}{i:04}", rng.next()),
            email: format!("{plain}@example.com"),
            display_name: name,
            groups: (0..6).filter(|g| (i + g) % 3 == 0).collect(),
        });
    }
}

fn itsm_hardware(b: &mut Builder) {
    b.object_type(10, 1, "Hardware", "Anything that hums. \"Abstract\": has no objects of its own", None)
        .parent_type(true)
        .label("Name", Style::Hardware)
        .add("Serial Number", Kind::Text, Source::Serial("SN-"), 96)
        .unique()
        .status("Status", &[2, 4, 5, 6, 58, 59], 92)
        .about("Where it is in its life")
        .add("Assignee", Kind::User, Source::Person, 70)
        .add("Purchased", Kind::Date, Source::Day, 85)
        .about("Date of the invoice")
        .add("Price", Kind::Double, Source::Real(20, 9000), 80)
        .reference("Location", "Office", 8, 75);
    b.object_type(11, 1, "Server", "A machine that serves", Some(10))
        .add("IP Address", Kind::IpAddress, Source::Ip, 90)
        .add("Operating System", Kind::Select, Source::Words(&words::SYSTEMS), 88)
        .reference("Owner", "Employee", 4, 80)
        .about("The person to call at night")
        .add("Memory GB", Kind::Integer, Source::Int(1, 512), 90)
        .add("Last Backup", Kind::DateTime, Source::Moment, 65)
        .add("Tags", Kind::Text, Source::Words(&words::TAGS), 60)
        .many()
        .reference("Depends On", "Server", 5, 40)
        .many()
        .add("Virtual", Kind::Boolean, Source::Flag, 90)
        .add("Maintenance Window", Kind::Time, Source::TimeOfDay, 50)
        .add("Management URL", Kind::Url, Source::Link("ilo"), 40)
        .add("Support Group", Kind::Group, Source::Team, 55)
        .add("Rack.Unit", Kind::Text, Source::Words(&["A.1", "A.2", "B.17", "b.17"]), 45)
        .add("Notes", Kind::Text, Source::Edge, 30)
        .add("Internal Note", Kind::Text, Source::Edge, 20)
        .hidden();
    b.object_type(12, 1, "Laptop", "", Some(10))
        .reference("Used By", "Employee", 4, 85)
        .add("Screen (inch)", Kind::Double, Source::Real(11, 17), 80)
        .add("Encrypted", Kind::Boolean, Source::Flag, 95);
    b.object_type(13, 1, "Phone", "", Some(10))
        .add("Phone Number", Kind::Text, Source::Serial("+46 8 "), 90)
        .reference("Used By", "Employee", 4, 85);
    b.object_type(14, 1, "Network Device", "Has objects of its own and children too", Some(10))
        .parent_type(false)
        .add("Ports", Kind::Integer, Source::Int(4, 96), 90)
        .add("Management IPs", Kind::IpAddress, Source::Ip, 80)
        .many();
    b.object_type(15, 1, "Router", "", Some(14)).add("Uplink Gbit", Kind::Double, Source::Real(1, 100), 70);
}

fn itsm_organisation(b: &mut Builder) {
    b.object_type(16, 1, "Employee", "People who work here", None)
        .label("Name", Style::Person)
        .add("Email", Kind::Email, Source::Mail, 97)
        .reference("Manager", "Employee", 4, 90)
        .reference("Office", "Office", 7, 85)
        .about("Where the desk is")
        .reference("Department", "Department", 4, 92)
        .add("Account", Kind::User, Source::Person, 80)
        .add("Hired", Kind::Date, Source::Day, 95)
        .add("Active", Kind::Boolean, Source::Flag, 98)
        .add("Skills", Kind::Select, Source::Words(&words::SKILLS), 60)
        .many()
        .add("Bio", Kind::Textarea, Source::Long, 25)
        .add("Home Page", Kind::Url, Source::Link("people"), 15);
    b.object_type(17, 1, "Department", "", None)
        .label("Name", Style::Word(&words::DEPARTMENTS))
        .add("Cost.Center", Kind::Text, Source::Serial("CC."), 90)
        .reference("Head", "Employee", 4, 90)
        .add("Budget", Kind::Double, Source::Real(1000, 900_000), 90)
        .add("Groups", Kind::Group, Source::Team, 80)
        .many()
        .add("Deputies", Kind::User, Source::Person, 70)
        .many();
}

fn itsm_software(b: &mut Builder) {
    b.object_type(18, 1, "Application", "Software we run; its children are kinds of it", None)
        .parent_type(false)
        .label("Name", Style::Word(&words::APPS))
        .add("Description", Kind::Textarea, Source::Long, 70)
        .reference("Vendor", "Vendor", 4, 60)
        .reference("Runs On", "Hardware", 5, 75)
        .many()
        .add("Criticality", Kind::Select, Source::Words(&words::CRITICALITY), 80)
        .add("Owners", Kind::User, Source::Person, 60)
        .many()
        .add("Url", Kind::Url, Source::Link("apps"), 55)
        .add("Label", Kind::Text, Source::Edge, 40)
        .add("Go Live", Kind::DateTime, Source::Moment, 60);
    b.object_type(19, 1, "Web Application", "", Some(18))
        .add("Ports", Kind::Integer, Source::Int(1, 65_535), 80)
        .many()
        .add("TLS", Kind::Boolean, Source::Flag, 80)
        .add("Repository", Kind::Unknown(8), Source::Link("git"), 50);
    b.object_type(20, 1, "Database", "", Some(18))
        .add("Engine", Kind::Select, Source::Words(&words::ENGINES), 95)
        .add("Version", Kind::Text, Source::Words(&words::VERSIONS), 85)
        .add("Size \"GB\"", Kind::Integer, Source::Int(0, 20_000), 80);
    b.object_type(21, 1, "Vendor", "", None)
        .label("Name", Style::Word(&words::VENDORS))
        .add("Website", Kind::Url, Source::Link("www"), 80)
        .add("Contact Emails", Kind::Email, Source::Mail, 80)
        .many()
        .add("Rating", Kind::Integer, Source::Int(-5, 5), 80);
    b.object_type(22, 1, "Contract", "", None)
        .label("Name", Style::Host("contract"))
        .reference("Vendor", "Vendor", 4, 95)
        .add("Start", Kind::Date, Source::Day, 95)
        .add("End", Kind::Date, Source::Day, 70)
        .add("Value", Kind::Double, Source::Real(100, 500_000), 90)
        .add("Currency", Kind::Select, Source::Words(&words::CURRENCIES), 90)
        .add("Renewal %", Kind::Double, Source::Real(0, 30), 50);
    b.object_type(23, 1, "Software License", "", None)
        .label("Name", Style::Host("licence"))
        .reference("Product", "Application", 4, 80)
        .reference("Contract", "Contract", 4, 60)
        .add("Seats", Kind::Integer, Source::Int(1, 5000), 85)
        .add("Expires", Kind::Date, Source::Day, 85);
    b.object_type(25, 1, "Room", "Server rooms. Facilities has a type of this name too", None)
        .label("Name", Style::Host("room"))
        .reference("Office", "Office", 8, 90)
        .add("Temperature", Kind::Double, Source::Real(14, 30), 90);
    b.object_type(26, 1, "Subnet", "Labelled by another attribute than Name", None)
        .label("Network", Style::Net)
        .add("Name", Kind::Text, Source::Edge, 70)
        .add("Gateway", Kind::IpAddress, Source::Ip, 80)
        .reference("Room", "Room", 8, 50);
}

/// One type with every kind of attribute, single and multi-valued, and with every kind of awkward name.
fn specimen(b: &mut Builder) {
    b.object_type(
        24,
        1,
        "Specimen",
        "Every kind, every awkward name: 100% \"quoted\" \\ O'Brien\nsecond line",
        None,
    )
    .label("Name", Style::Edge);
    let kinds: [(&str, Kind, Source); 12] = [
        ("Text", Kind::Text, Source::Edge),
        ("Integer", Kind::Integer, Source::IntEdge),
        ("Boolean", Kind::Boolean, Source::Flag),
        ("Double", Kind::Double, Source::RealEdge),
        ("Date", Kind::Date, Source::DayEdge),
        ("Time", Kind::Time, Source::TimeOfDay),
        ("DateTime", Kind::DateTime, Source::MomentEdge),
        ("Link", Kind::Url, Source::Link("specimen")),
        ("Email", Kind::Email, Source::Mail),
        ("Textarea", Kind::Textarea, Source::Long),
        ("Select", Kind::Select, Source::Words(&words::CRITICALITY)),
        ("IP", Kind::IpAddress, Source::Ip),
    ];
    for (name, kind, source) in kinds {
        b.add(&format!("One {name}"), kind, source, 70).about(&format!("A single {name}"));
        b.add(&format!("Many {name}"), kind, source, 70).many();
    }
    b.reference("One Object", "Office", 8, 70)
        .reference("Many Object", "Employee", 4, 70)
        .many()
        .add("One User", Kind::User, Source::Person, 70)
        .add("Many User", Kind::User, Source::Person, 70)
        .many()
        .add("One Group", Kind::Group, Source::Team, 70)
        .add("Many Group", Kind::Group, Source::Team, 70)
        .many()
        .status("One Status", &[1, 2, 3, 58, 59], 70)
        .add("One Unknown", Kind::Unknown(8), Source::Edge, 70)
        .add("Many Unknown", Kind::Unknown(8), Source::Edge, 70)
        .many()
        .add("Notes", Kind::Text, Source::Edge, 70)
        .add("notes", Kind::Text, Source::Edge, 70)
        .add("2024", Kind::Integer, Source::Int(1, 9), 70)
        .add("Straße", Kind::Text, Source::Edge, 70)
        .add("名前", Kind::Text, Source::Edge, 70)
        .add("Quote \"Q\"", Kind::Text, Source::Edge, 70)
        .add("Back\\slash", Kind::Text, Source::Edge, 70)
        .add("Dot.ted.Name", Kind::Text, Source::Edge, 70)
        .add("Id", Kind::Text, Source::Serial("X"), 70)
        .add("Url", Kind::Url, Source::Link("column"), 70)
        .add("Label", Kind::Text, Source::Edge, 70)
        .add("Order", Kind::Integer, Source::Int(1, 99), 70)
        .add("And", Kind::Text, Source::Edge, 70)
        .add("Select \"x\"; DROP TABLE y; --", Kind::Text, Source::Edge, 70)
        .add(
            "A name that is a good deal longer than the sixty-three bytes that PostgreSQL leaves for it, one",
            Kind::Text,
            Source::Edge,
            70,
        )
        .add(
            "A name that is a good deal longer than the sixty-three bytes that PostgreSQL leaves for it, two",
            Kind::Text,
            Source::Edge,
            70,
        )
        .add("Never Filled", Kind::Text, Source::None, 0)
        .add("Secret", Kind::Text, Source::Edge, 50)
        .hidden();
}

fn facilities_and_services(b: &mut Builder) {
    b.object_type(40, 2, "Country", "", None).label("Name", Style::Word(&words::COUNTRIES)).add(
        "Population",
        Kind::Integer,
        Source::Int(100_000, 3_000_000_000),
        90,
    );
    b.object_type(41, 2, "City", "", None)
        .label("Name", Style::Word(&words::CITIES))
        .reference("Country", "Country", 8, 95);
    b.object_type(42, 2, "Office", "", None)
        .label("Name", Style::Host("office"))
        .reference("City", "City", 8, 95)
        .add("Address", Kind::Textarea, Source::Long, 80)
        .add("Capacity", Kind::Integer, Source::Int(5, 900), 90)
        .add("Opened", Kind::Date, Source::Day, 85)
        .reference("Manager", "Employee", 4, 80)
        .status("State", &[2, 3, 60], 80);
    b.object_type(43, 2, "Room", "Meeting rooms. ITSM has a type of this name too", None)
        .label("Name", Style::Host("meeting"))
        .reference("Office", "Office", 8, 95)
        .add("Floor", Kind::Integer, Source::Int(-2, 40), 95)
        .add("Has Video", Kind::Boolean, Source::Flag, 90)
        .add("Opens", Kind::Time, Source::TimeOfDay, 70);
    b.object_type(60, 6, "Service", "", None)
        .label("Name", Style::Word(&words::APPS))
        .add("Tier", Kind::Select, Source::Words(&words::CRITICALITY), 90)
        .add("Service ID", Kind::Text, Source::Serial("svc:"), 100)
        .reference("Service Owners", "Employee", 4, 70)
        .many();
}
