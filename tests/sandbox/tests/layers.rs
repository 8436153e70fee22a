//! The same attacks where the kernel has no seccomp: what the rest of the sandbox refuses by itself.

#[path = "fixtures/world.rs"]
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

use sandbox_attacks::{Attack, Outcome};
use subd::Role;
use world::{World, ask};

/// One test at a time: with another process of a role's user about, RLIMIT_NPROC refuses exec first.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn assert_refused(world: &World, role: Role, attacks: &[(Attack, i32)]) {
    for (attack, error) in attacks {
        let (mut starter, mut edge) = world.without_seccomp(role);
        let outcome = ask(&mut edge, attack);
        assert_eq!(
            outcome,
            Some(Outcome::Refused(*error)),
            "{role}: {attack:?}"
        );
        drop(edge);
        assert!(starter.wait().unwrap().success());
    }
}

fn against_others(world: &World) -> Vec<(Attack, i32)> {
    let (pid, address) = (world.sibling(), world.address);
    vec![
        // An empty root.
        (
            Attack::Open {
                path: "/etc/passwd".to_owned(),
            },
            libc::ENOENT,
        ),
        (Attack::Exec, libc::ENOENT),
        (Attack::ReadMemoryFile { pid, address }, libc::ENOENT),
        // Landlock: the folder is hsmd's, and only what is in it.
        (
            Attack::OpenFromFolder {
                path: "../outside".to_owned(),
            },
            libc::EACCES,
        ),
        // RLIMIT_NPROC.
        (Attack::Fork, libc::EAGAIN),
        // Landlock's scopes and domain, and another user where the test runs as root.
        (Attack::Kill { pid }, libc::EPERM),
        (Attack::Ptrace { pid }, libc::EPERM),
        (Attack::TakeDescriptor { pid }, libc::EPERM),
        (Attack::ReadMemory { pid, address }, libc::EPERM),
        // No capability.
        (
            Attack::Mount {
                path: "/".to_owned(),
            },
            libc::EPERM,
        ),
    ]
}

#[test]
fn without_seccomp_no_role_reaches_a_file_or_a_sibling() {
    let _alone = alone();
    let world = World::new();
    for role in Role::ALL {
        assert_refused(&world, role, &against_others(&world));
    }
}

#[test]
fn without_seccomp_only_hsmd_reads_the_folder() {
    let _alone = alone();
    let world = World::new();
    let seed = Attack::OpenFromFolder {
        path: "hsm_secret".to_owned(),
    };
    for role in Role::ALL {
        if role == Role::Hsmd {
            let (_starter, mut edge) = world.without_seccomp(role);
            assert_eq!(ask(&mut edge, &seed), Some(Outcome::Succeeded));
        } else {
            assert_refused(&world, role, &[(seed.clone(), libc::EACCES)]);
        }
    }
}

#[test]
fn without_seccomp_a_port_that_was_not_granted_is_out_of_reach() {
    let _alone = alone();
    let world = World::new();
    let backend = world.backend.local_addr().unwrap().port();
    let reach = [
        (Attack::Connect { port: backend }, libc::EACCES),
        (Attack::Bind { port: world.other }, libc::EACCES),
    ];
    for role in [
        Role::Hsmd,
        Role::Connectd,
        Role::Channeld,
        Role::Onchaind,
        Role::Payd,
    ] {
        assert_refused(&world, role, &reach);
    }
    // With an empty network of its own, it is not there either.
    let unix = Attack::AbstractUnix {
        name: world.abstract_name.clone(),
    };
    for role in [Role::Hsmd, Role::Channeld, Role::Onchaind, Role::Payd] {
        let nobody = [
            (unix.clone(), libc::ECONNREFUSED),
            (Attack::FastOpen { port: backend }, libc::ENETUNREACH),
        ];
        assert_refused(&world, role, &nobody);
    }
    for role in [Role::Connectd, Role::Chaind] {
        assert_refused(&world, role, &[(unix.clone(), libc::EPERM)]);
    }
}
