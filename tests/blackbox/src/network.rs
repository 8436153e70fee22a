//! Several nodes on one chain.

use crate::Bitcoind;
use crate::node::{ChannelState, Format, Node, Options};
use anyhow::Result;
use nix::sys::signal::Signal;

/// A chain and its nodes. The nodes end before their bitcoind.
pub struct Network {
    /// In the order of their names at the start.
    pub nodes: Vec<Node>,
    /// Their chain.
    pub bitcoind: Bitcoind,
}

impl Network {
    /// A bitcoind and a node for each name.
    ///
    /// # Errors
    /// Where one does not start.
    pub fn start(names: &[&str]) -> Result<Network> {
        Network::start_with(names, &Options::default())
    }

    /// As [`Network::start`], each node with these options.
    ///
    /// # Errors
    /// As [`Network::start`].
    pub fn start_with(names: &[&str], options: &Options) -> Result<Network> {
        let bitcoind = Bitcoind::start_as(options.own_group)?;
        let start = |name: &&str| Node::start_with(&bitcoind, name, options.clone());
        let nodes = names.iter().map(start).collect::<Result<Vec<Node>>>()?;
        Ok(Network { nodes, bitcoind })
    }

    /// Two nodes, `alice` and `bob`, with a channel of so many satoshi that alice opened and half of
    /// which she gave to bob, so that both can pay.
    ///
    /// # Errors
    /// Where something fails on the way.
    pub fn pair(satoshi: u64) -> Result<(Network, ChannelState)> {
        let network = Network::start(&["alice", "bob"])?;
        let channel = network.open(0, 1, satoshi, satoshi * 500)?;
        Ok((network, channel))
    }

    /// Funds, connects and opens a channel between two of the nodes; push is in msat. Their owners'
    /// limits are lifted first.
    ///
    /// # Errors
    /// Where something fails on the way.
    pub fn open(
        &self,
        from: usize,
        to: usize,
        satoshi: u64,
        push_msat: u64,
    ) -> Result<ChannelState> {
        self.open_as(from, to, satoshi, push_msat, Format::Anchors)
    }

    /// As [`Network::open`], of this format.
    ///
    /// # Errors
    /// As [`Network::open`].
    pub fn open_as(
        &self,
        from: usize,
        to: usize,
        satoshi: u64,
        push_msat: u64,
        format: Format,
    ) -> Result<ChannelState> {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        for node in [from, to] {
            node.lift_limits()?;
        }
        // Room for the fee, the emergency reserve and a little more.
        from.fund(&self.bitcoind, satoshi + 200_000)?;
        from.connect(to)?;
        from.open_channel_as(&self.bitcoind, to, satoshi, push_msat, format)
    }

    /// Waits until every node has seen the tip.
    ///
    /// # Errors
    /// Where one does not.
    pub fn sync(&self) -> Result<()> {
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        self.sync_of(&nodes)
    }

    /// As [`Network::sync`], of these nodes alone.
    ///
    /// # Errors
    /// Where one does not.
    pub fn sync_of(&self, nodes: &[&Node]) -> Result<()> {
        let height = self.bitcoind.height()?;
        nodes
            .iter()
            .try_for_each(|node| node.wait_for_height(height))
    }

    /// Mines so many blocks and waits until every node has seen them.
    ///
    /// # Errors
    /// Where one does not.
    pub fn mine(&self, blocks: u32) -> Result<()> {
        self.bitcoind.mine(blocks)?;
        self.sync()
    }

    /// A block comes, and the node dies when its database has what the block means, as `seen` says, and not yet the
    /// block itself.
    ///
    /// # Errors
    /// Where nothing is seen.
    pub fn die_within_a_block(
        &mut self,
        node: usize,
        seen: impl Fn(&Node) -> Result<bool>,
    ) -> Result<()> {
        // It must not be in the midst of an earlier one.
        self.sync()?;
        let node = &mut self.nodes[node];
        // Its turn comes between the two.
        for hsmd in node.processes_in_role("hsmd") {
            hsmd.signal(Signal::SIGSTOP);
        }
        self.bitcoind.mine(1)?;
        node.wait_for(
            "it has seen the block",
            |node| Ok(seen(node)?.then_some(())),
        )?;
        node.kill_all()
    }
}
