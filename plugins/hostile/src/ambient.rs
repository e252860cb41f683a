//! What a program usually has around it: an environment, arguments, sockets, names.

use windlass_sdk::bindings::wasi::filesystem::preopens::get_directories;
use windlass_sdk::{Failure, connections, step};

use crate::bindings::exports::windlass::hostile::attacks::{Reached, Surroundings};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::{IpAddress, resolve_addresses};
use wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasi::sockets::tcp_create_socket::create_tcp_socket;

use bindings::wasi;

#[allow(clippy::all, clippy::restriction, unreachable_pub, reason = "generated code")]
mod bindings {
    windlass_sdk::wit_bindgen::generate!({
        inline: "
            package windlass:hostile-ambient;

            world ambient {
                import wasi:cli/environment@0.2.12;
                import wasi:sockets/instance-network@0.2.12;
                import wasi:sockets/ip-name-lookup@0.2.12;
                import wasi:sockets/tcp@0.2.12;
                import wasi:sockets/tcp-create-socket@0.2.12;
            }
        ",
        path: [
            "../../wit/wasi/io.wit",
            "../../wit/wasi/random.wit",
            "../../wit/wasi/clocks.wit",
            "../../wit/wasi/filesystem.wit",
            "../../wit/wasi/sockets.wit",
            "../../wit/wasi/cli.wit",
        ],
        world: "ambient",
        runtime_path: "windlass_sdk::wit_bindgen::rt",
        generate_all,
    });
}

/// Everything that can be seen without a grant.
pub(crate) fn look_around() -> Surroundings {
    // The slots that runbooks of the tests bind, whether or not to this plugin, and names that it can only guess.
    let guesses = ["api", "db", "out", "tool", "main", "records", "audit", "secrets"];
    let found = guesses.iter().filter_map(|slot| connections::lookup(slot));
    Surroundings {
        environment: wasi::cli::environment::get_environment(),
        arguments: wasi::cli::environment::get_arguments(),
        folders: get_directories().into_iter().map(|(_, name)| name).collect(),
        connections: found.map(|connection| format!("{connection:?}")).collect(),
        step: format!("{:?}", step::current()),
    }
}

/// A TCP connection past all HTTP rules.
pub(crate) fn connect(address: &str, port: u16) -> Result<Reached, Failure> {
    let mut octets = address.split('.').map(|octet| octet.parse::<u8>().unwrap_or_default());
    let mut next = || octets.next().unwrap_or_default();
    let target = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (next(), next(), next(), next()) });
    let failed = |code| Failure::new("not-connected", format!("{code:?}"));
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(failed)?;
    socket.start_connect(&instance_network(), target).map_err(failed)?;
    socket.subscribe().block();
    socket.finish_connect().map_err(failed)?;
    Ok(Reached { text: format!("connected to {address}:{port}") })
}

/// A name looked up past all HTTP rules: names can carry data out.
pub(crate) fn look_up(name: &str) -> Result<Reached, Failure> {
    let failed = |code| Failure::new("not-looked-up", format!("{code:?}"));
    let stream = resolve_addresses(&instance_network(), name).map_err(failed)?;
    stream.subscribe().block();
    match stream.resolve_next_address().map_err(failed)? {
        Some(IpAddress::Ipv4(address)) => Ok(Reached { text: format!("{address:?}") }),
        Some(IpAddress::Ipv6(address)) => Ok(Reached { text: format!("{address:?}") }),
        None => Err(Failure::new("not-looked-up", "no address")),
    }
}
