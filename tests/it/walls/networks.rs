//! Addresses of other machines: metadata services and private networks. They are on the loopback interface of
//! a network that the test makes for itself, so no packet can leave it.

use super::connecting::python;
use super::egress::{Canary, VIA};
use super::{WALLS, Wall};
use crate::reading::{answer, state};
use crate::world::World;
use serde_json::json;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;

/// A variable that says: this process is in the network already.
const INSIDE: &str = "PILOTHOUSE_TEST_NETWORK";

const METADATA: &str = "169.254.169.254";
const ADDRESSES: [&str; 3] = [METADATA, "10.1.2.3", "192.168.9.9"];
const METADATA_V6: &str = "fd00:ec2::254";

/// Runs a test of this file again, in a network of its own with these addresses and names.
fn in_a_network_of_its_own(test: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(
        &hosts,
        format!("127.0.0.1 localhost\n{METADATA} metadata.example\n10.1.2.3 ten.example\n{METADATA_V6} six.example\n"),
    )
    .unwrap();
    let mut script = "set -e; ip link set lo up; ".to_owned();
    for address in ADDRESSES {
        script.push_str(&format!("ip address add {address}/32 dev lo; "));
    }
    script.push_str(&format!("ip -6 address add {METADATA_V6}/128 dev lo nodad || true; "));
    script.push_str(&format!("mount --bind {} /etc/hosts; exec \"$0\" \"$@\"", hosts.display()));
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let ran = unshare
        .args(["--net", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("walls::networks::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// Listeners on all of the addresses.
struct Canaries {
    tcp: Vec<(String, Canary)>,
    udp: Vec<(String, UdpSocket)>,
}

impl Canaries {
    fn new() -> Self {
        let tcp = ADDRESSES
            .iter()
            .map(|address| (format!("{address}:80"), Canary::on(&format!("{address}:80"))));
        let mut tcp: Vec<_> = tcp.collect();
        let six = format!("[{METADATA_V6}]:80");
        if std::net::TcpListener::bind(&six).is_ok() {
            tcp.push((six.clone(), Canary::on(&six)));
        }
        let udp = ADDRESSES.iter().map(|address| {
            let socket = UdpSocket::bind(format!("{address}:53")).unwrap();
            socket.set_nonblocking(true).unwrap();
            ((*address).to_owned(), socket)
        });
        Self { tcp, udp: udp.collect() }
    }

    fn nobody_came(&self, wall: Wall) {
        for (address, canary) in &self.tcp {
            assert!(!canary.was_reached(), "{wall:?}: {address}");
        }
        for (address, socket) in &self.udp {
            assert!(socket.recv(&mut [0; 64]).is_err(), "{wall:?}: {address}");
        }
    }
}

fn described(wall: Wall) -> World {
    wall.shell().config(json!({"egress": {"allow": ["*"]}})).start()
}

#[test]
fn metadata_and_private_networks_are_not_reached_directly() {
    in_a_network_of_its_own("metadata_and_private_networks_are_not_reached_directly", || {
        for wall in WALLS {
            let (canaries, world) = (Canaries::new(), described(wall));
            for (address, _) in &canaries.udp {
                let script = format!(
                    "exec 3<>/dev/tcp/{address}/80 && echo reached; (echo x > /dev/udp/{address}/53) && echo sent; true"
                );
                let task = world.say(&script);
                assert_eq!(
                    (state(&task), answer(&task).as_str()),
                    ("COMPLETED", ""),
                    "{wall:?} {address}"
                );
            }
            canaries.nobody_came(wall);
        }
    });
}

#[test]
fn under_landlock_no_address_but_the_proxys_is_reached_at_the_proxys_port() {
    in_a_network_of_its_own(
        "under_landlock_no_address_but_the_proxys_is_reached_at_the_proxys_port",
        || {
            let world = described(Wall::Landlock);
            let port: u16 = python(&world, "print(PORT)").trim().parse().unwrap();
            let addresses = ["127.0.0.2", METADATA, "10.1.2.3", "192.168.9.9"];
            let canaries = addresses.map(|address| Canary::on(&format!("{address}:{port}")));
            for (address, canary) in addresses.iter().zip(&canaries) {
                let script = format!(
                    "print(code(socket.AF_INET, '{address}'), code(socket.AF_INET6, '::ffff:{address}'))"
                );
                assert_eq!(python(&world, &script), "EACCES EACCES\n", "{address}");
                assert!(!canary.was_reached(), "{address}");
            }
        },
    );
}

#[test]
fn without_a_wall_they_are_reached() {
    in_a_network_of_its_own("without_a_wall_they_are_reached", || {
        let canaries = Canaries::new();
        let bash = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
        let world = World::describe().agent(bash).start();
        for (address, socket) in &canaries.udp {
            let script = format!(
                "exec 3<>/dev/tcp/{address}/80 && echo reached; echo x > /dev/udp/{address}/53"
            );
            assert_eq!(answer(&world.say(&script)), "reached\n", "{address}");
            assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 2, "{address}");
        }
        assert!(canaries.tcp.iter().take(ADDRESSES.len()).all(|(_, canary)| canary.was_reached()));
    });
}

#[test]
fn metadata_and_private_networks_are_not_reached_through_the_proxy() {
    in_a_network_of_its_own(
        "metadata_and_private_networks_are_not_reached_through_the_proxy",
        || {
            for wall in WALLS {
                let (canaries, world) = (Canaries::new(), described(wall));
                for (address, _) in &canaries.tcp {
                    let said = answer(&world.say(&format!("{VIA} via {address}")));
                    assert!(said.starts_with("HTTP/1.1 403 "), "{wall:?} {address}: {said}");
                }
                canaries.nobody_came(wall);
            }
        },
    );
}

#[test]
fn names_that_lead_there_are_not_reached_either() {
    in_a_network_of_its_own("names_that_lead_there_are_not_reached_either", || {
        for wall in WALLS {
            let (canaries, world) = (Canaries::new(), described(wall));
            for name in ["metadata.example", "ten.example", "six.example"] {
                let said = answer(&world.say(&format!("{VIA} via {name}:80")));
                assert!(said.starts_with("HTTP/1.1 403 "), "{wall:?} {name}: {said}");
            }
            canaries.nobody_came(wall);
        }
    });
}

#[test]
fn what_the_operator_names_is_reached() {
    in_a_network_of_its_own("what_the_operator_names_is_reached", || {
        for wall in WALLS {
            let canaries = Canaries::new();
            let egress = json!({"egress": {"allow": ["ten.example"], "inner": ["10.1.0.0/16"]}});
            let world = wall.shell().config(egress).start();
            let (_, ten) = &canaries.tcp[1];
            let said = ten.answers(|| answer(&world.say(&format!("{VIA} via ten.example:80"))));
            assert!(said.ends_with("the canary\n"), "{wall:?}: {said}");
        }
    });
}
