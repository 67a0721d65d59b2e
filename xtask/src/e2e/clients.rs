//! Client libraries' own tests, where they need pods that run.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};

use super::scene::Scene;
use crate::{up::services, wire::clients::kube};

/// Where kube-rs looks for a node's agent: on loopback, at the agent's own port.
const AGENT_PORT: u16 = 10250;

/// One of the tests finds its pod at the agent of this machine: all pods go to one node, whose agent answers here.
pub fn kube_rs(scene: &Scene<'_>) -> Result<()> {
    let kubectl = scene.world.kubectl();
    let (first, others) = scene.world.machines.split_first().context("no machine")?;
    let agent = SocketAddr::new(first.address().parse()?, AGENT_PORT);
    let local = SocketAddr::from(([127, 0, 0, 1], AGENT_PORT));
    let listener =
        TcpListener::bind(local).with_context(|| format!("failed to listen on {local}"))?;
    thread::spawn(move || forward(&listener, agent));
    for node in others {
        kubectl.run(&["cordon", &node.name])?;
    }
    let said = kube::run(&services::kubeconfig(), kube::Part::WithPods);
    for node in others {
        kubectl.run(&["uncordon", &node.name])?;
    }
    scene.proves(said?);
    Ok(())
}

/// Until the process ends.
fn forward(listener: &TcpListener, target: SocketAddr) {
    for client in listener.incoming().filter_map(Result::ok) {
        match TcpStream::connect(target) {
            Ok(server) => drop(join(client, server)),
            Err(error) => println!("  {target} does not answer: {error}"),
        }
    }
}

fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let (mut from, mut to) = (from, to);
            let _broken = io::copy(&mut from, &mut to);
            // The other side may have closed already.
            let _closed = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
