use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name;
use crate::catalogue::takeover::Takeover;
use crate::config::Maker;
use crate::store::sample::empty;

const SAMPLE: &str = include_str!("../../../tests/golden/manifest.json");
const A: &str = "7000000000000000001";
const B: &str = "7000000000000000002";

/// A backup: where it is, the host, the server and the copy of its data directory.
#[derive(Clone, Copy, Debug)]
struct Made {
    store: StoreKind,
    host: &'static str,
    server: Option<&'static str>,
    directory: Option<&'static str>,
    timeline: u32,
}

const fn made(store: StoreKind, host: &'static str, server: Option<&'static str>, directory: &'static str) -> Made {
    Made { store, host, server, directory: Some(directory), timeline: 1 }
}

/// In the bucket, from a host that tells its server.
const fn there(host: &'static str, server: &'static str, directory: &'static str) -> Made {
    made(StoreKind::S3, host, Some(server), directory)
}

/// In the bucket, from a host that tells nothing, as before.
const fn old(host: &'static str) -> Made {
    Made { store: StoreKind::S3, host, server: None, directory: None, timeline: 1 }
}

const fn local(made: Made) -> Made {
    Made { store: StoreKind::Local, ..made }
}

fn backup(second: usize, made: Made) -> Backup {
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
    manifest.started = Timestamp::from_second(1_700_000_000 + i64::try_from(second).unwrap()).unwrap();
    manifest.id = name::id("shop", manifest.started);
    "main".clone_into(&mut manifest.instance);
    made.host.clone_into(&mut manifest.host);
    manifest.server.identity = Identity {
        system_identifier: made.server.map(str::to_owned),
        timeline: made.server.map(|_| made.timeline),
        data_directory: made.directory.map(str::to_owned),
        ..Identity::default()
    };
    let store = empty(made.store);
    Backup::good(manifest, store)
}

fn stores(all: &[Made], takeovers: &[Takeover]) -> Vec<Catalogue> {
    let of = |store: StoreKind| Catalogue {
        backups: all
            .iter()
            .enumerate()
            .filter(|(_, made)| made.store == store)
            .map(|(at, made)| backup(at, *made))
            .collect(),
        takeovers: takeovers.to_vec(),
        ..Catalogue::default()
    };
    vec![of(StoreKind::Local), of(StoreKind::S3)]
}

fn maker(host: &str) -> Maker {
    Maker { instance: "main".to_owned(), host: host.to_owned() }
}

fn asked(server: &str, directory: &str) -> Option<Identity> {
    Some(Identity {
        system_identifier: Some(server.to_owned()),
        timeline: Some(1),
        data_directory: Some(directory.to_owned()),
        ..Identity::default()
    })
}

/// Whose each is for an instance on the host `here`: a letter each.
fn whose_of(all: &[Made], server: Option<Identity>, takeovers: &[Takeover]) -> (String, Ownership) {
    let catalogues = stores(all, takeovers);
    let ownership = Ownership::new(&Owner { maker: maker("here"), server }, catalogues.iter());
    let letter = |(at, made): (usize, &Made)| match ownership.whose(&backup(at, *made)) {
        Whose::Own => 'o',
        Whose::Before => 'b',
        Whose::Likely => 'l',
        Whose::Unclear => '?',
        Whose::Another => '-',
    };
    (all.iter().enumerate().map(letter).collect(), ownership)
}

fn whose(all: &[Made], server: Option<Identity>) -> String {
    whose_of(all, server, &[]).0
}

#[test]
fn names_decide_if_nothing_else_is_known() {
    assert_eq!(whose(&[old("here"), old("db2"), local(old("earlier"))], None), "o-o");
    assert_eq!(whose(&[old("db2"), old("db2")], None), "ll");
    assert_eq!(whose(&[old("db2"), old("db3")], None), "--");
}

#[test]
fn two_servers_of_one_name_are_distinguished_or_unclear() {
    let both = [there("here", A, "a"), there("here", B, "b"), old("here")];
    let (found, ownership) = whose_of(&both, None, &[]);
    assert_eq!(found, "???");
    assert!(ownership.must_ask && ownership.doubts.iter().any(Doubt::is_unclear));
    assert_eq!(whose(&both, asked(B, "b")), "-o?");
    // The directory is of one host, and so tells which server is ours.
    assert_eq!(whose(&[local(there("here", A, "a")), both[0], both[1]], None), "oo-");
    let in_directory = [local(there("here", A, "a")), local(there("here", B, "b"))];
    assert_eq!(whose(&in_directory, None), "??");
    assert_eq!(whose(&in_directory, asked(B, "b")), "-o");
}

#[test]
fn containers_have_new_names_and_the_same_server() {
    let runs = [there("c1", A, "a"), there("c2", A, "a"), there("here", A, "a"), there("c3", A, "a")];
    assert_eq!(whose(&runs, None), "oooo");
    // The first run of a new container has nothing near: the server says that it is the same.
    let (found, ownership) = whose_of(&runs[..2], None, &[]);
    assert_eq!((found.as_str(), ownership.must_ask), ("ll", true));
    assert_eq!(whose(&runs[..2], asked(A, "a")), "oo");
    // Others use the bucket with the same name of the instance.
    let shared = [there("c1", A, "a"), there("x1", B, "b"), there("c2", A, "a")];
    assert_eq!(whose(&shared, None), "---");
    assert_eq!(whose(&shared, asked(A, "a")), "o-o");
    // A container that ran beside, once, by hand.
    let by_hand = [there("here", A, "a"), there("c9", A, "a"), there("here", A, "a")];
    assert_eq!(whose(&by_hand, None), "ooo");
}

#[test]
fn a_copy_of_the_server_is_another_server() {
    let copied = [there("here", A, "a"), there("staging", A, "b")];
    let (found, ownership) = whose_of(&copied, None, &[]);
    assert_eq!(found, "o-");
    assert!(matches!(ownership.doubts.as_slice(), [Doubt::Copies { .. }]));
    // From the copy's side, whether it was asked or not.
    let first = [there("prod", A, "a"), there("prod", A, "a"), there("here", A, "b")];
    assert_eq!(whose(&first, None), "--o");
    assert_eq!(whose(&first[..2], asked(A, "b")), "--");
    // One stray backup of a copy among those of a host that lasts.
    let stray = [there("here", A, "a"), there("testvm", A, "b"), there("here", A, "a"), there("here", A, "a")];
    assert_eq!(whose(&stray, None), "o-oo");
    // With the same name of the host: in turns, so both live.
    let turns = [there("here", A, "a"), there("here", A, "b"), there("here", A, "a"), there("here", A, "b")];
    assert_eq!(whose(&turns, asked(A, "b")), "-o-o");
    assert_eq!(whose(&turns, None), "????");
    // Two hosts that back up one server in turns own what they made.
    let hosts = [there("here", A, "a"), there("db2", A, "a"), there("here", A, "a"), there("db2", A, "a")];
    assert_eq!(whose(&hosts, None), "o-o-");
}

#[test]
fn a_copy_of_the_whole_disk_keeps_the_marks() {
    // A host that makes backup after backup may be that of a copy, and come again: what it made is read, and stays.
    let copied = [there("prod", A, "a"), there("prod", A, "a"), there("prod", A, "a"), there("here", A, "a")];
    assert_eq!(whose(&copied, None), "bbbo");
    assert_eq!(whose(&copied[..3], asked(A, "a")), "bbb");
    // Once it has come again, it is another.
    let again = [copied[0], copied[1], copied[3], copied[0]];
    assert_eq!(whose(&again, None), "--o-");
    // From the side of the first one, the other host has made one alone, as a container does.
    let seen = [there("here", A, "a"), there("here", A, "a"), there("c1", A, "a")];
    assert_eq!(whose(&seen, None), "ooo");
}

#[test]
fn containers_with_a_new_data_directory_are_one_server() {
    // Each start of the server gives its files another owner, and so PG_VERSION another time.
    let runs = [there("c1", A, "a"), there("c2", A, "a"), there("c3", A, "b")];
    assert_eq!(whose(&runs, asked(A, "b")), "bbo");
    let mut later = stores(&runs, &[]);
    later[1].backups[2].manifest.started += jiff::SignedDuration::from_hours(8 * 24);
    let owner = Owner { maker: maker("here"), server: asked(A, "b") };
    let ownership = Ownership::new(&owner, later.iter());
    assert!(later[1].backups.iter().all(|backup| ownership.owns(backup)));
    // A role that may ask nothing else.
    let unmarked = |host| Made { directory: None, ..there(host, A, "") };
    assert_eq!(whose(&[unmarked("c1"), unmarked("c2"), unmarked("here")], None), "bbo");
}

#[test]
fn a_moved_or_promoted_server_is_the_same() {
    // The data directory got another inode, or another disk: after a week it is sure that there is no other.
    let moved = [there("here", A, "a"), there("here", A, "a"), there("here", A, "b"), there("here", A, "b")];
    assert_eq!(whose(&moved, None), "bboo");
    assert_eq!(whose(&moved[..2], asked(A, "b")), "bb");
    // From the side of the first one, the other one is a copy.
    assert_eq!(whose(&moved, asked(A, "a")), "oo--");
    // Unless ours was promoted from it.
    let promoted = asked(A, "a").map(|server| Identity { timeline: Some(2), ..server });
    assert_eq!(whose(&moved, promoted), "oobb");
    let mut catalogues = stores(&moved, &[]);
    let later = Timestamp::from_second(1_700_000_000 + 8 * 86_400).unwrap();
    let last = catalogues[1].backups.last_mut().unwrap();
    last.manifest.started = later;
    let ownership = Ownership::new(&Owner { maker: maker("here"), server: None }, catalogues.iter());
    assert!(catalogues[1].backups.iter().all(|backup| ownership.owns(backup)));
    // To the standby, back, and there again: each time on a higher timeline.
    let switched =
        (1..).zip(["a", "b", "a", "b"]).map(|(timeline, directory)| Made { timeline, ..there("here", A, directory) });
    assert_eq!(whose(&switched.collect::<Vec<_>>(), None), "bobo");
}

#[test]
fn backups_that_were_taken_over_belong_to_the_new_owner() {
    let take = |from: &str, to: &str, second: i64, server: Option<Identity>| Takeover {
        from: maker(from),
        to: maker(to),
        server: server.unwrap_or_default(),
        at: Timestamp::from_second(1_700_000_000 + second).unwrap(),
    };
    let all = [there("db1", A, "a"), there("db1", A, "a"), there("here", B, "b"), there("db1", A, "a")];
    assert_eq!(whose(&all, None), "--o-");
    let taken = take("db1", "here", 2, asked(B, "b"));
    // What the old host makes afterwards is its own.
    assert_eq!(whose_of(&all, None, std::slice::from_ref(&taken)).0, "ooo-");
    // Before there is a backup of the new server, and without a server to ask.
    assert_eq!(whose_of(&all[..2], None, &[take("db1", "here", 2, None)]).0, "oo");
    // A chain of hosts, and a circle.
    let chain = [take("db1", "db2", 2, None), take("db2", "here", 3, None), take("here", "db1", 1, None)];
    assert_eq!(whose_of(&all[..2], None, &chain).0, "oo");
    // The same server after an upgrade.
    let upgraded = [local(there("here", A, "a")), local(there("here", B, "b"))];
    assert_eq!(whose_of(&upgraded, None, &[take("here", "here", 2, asked(B, "b"))]).0, "oo");
    // For the host that was given up, its directory is its own, and its copies are not.
    let given_up = [local(there("here", A, "a")), there("here", A, "a")];
    let mut catalogues = stores(&given_up, &[]);
    catalogues[1].takeovers.push(take("here", "db2", 9, None));
    let ownership = Ownership::new(&Owner { maker: maker("here"), server: None }, catalogues.iter());
    let found = [0, 1].map(|at| ownership.whose(&backup(at, given_up[at])));
    assert_eq!(found, [Whose::Own, Whose::Another]);
}

fn any_made() -> impl Strategy<Value = Made> {
    let server = prop::option::weighted(0.8, prop::sample::select(vec![A, B]));
    let directory = prop::option::weighted(0.8, prop::sample::select(vec!["a", "b", "c"]));
    let (store, host) = (
        prop::sample::select(vec![StoreKind::Local, StoreKind::S3]),
        prop::sample::select(vec!["here", "c1", "c2", "db"]),
    );
    (store, host, server, directory, 1..4_u32).prop_map(|(store, host, server, directory, timeline)| Made {
        store,
        host,
        server,
        directory,
        timeline,
    })
}

proptest! {
    /// Whatever is there: nothing of a server that is known to be another one is ever ours, nor likely or unclear once ours
    /// was asked; and what is ours for certain has one system identifier.
    #[test]
    fn no_backup_of_another_server_is_own(
        all in prop::collection::vec(any_made(), 1..12),
        server in prop::option::of(prop::sample::select(vec![A, B])),
    ) {
        let (found, _) = whose_of(&all, server.and_then(|server| asked(server, "a")), &[]);
        let identifiers = |letter: char| -> BTreeSet<&str> {
            let of_letter = all.iter().zip(found.chars()).filter(move |(_, found)| *found == letter);
            of_letter.filter_map(|(made, _)| made.server).collect()
        };
        prop_assert!(identifiers('o').len() <= 1, "{found} {all:?}");
        if let Some(server) = server {
            for letter in ['o', 'b', 'l', '?'] {
                prop_assert!(identifiers(letter).iter().all(|found| *found == server), "{found} {all:?}");
            }
        }
    }
}
