//! lightningd's own sockets to hsmd: CTL, WALLET, GOSSIP, INVOICE, PAY, RPC, TIP and BACKUP.
//!
//! hsmd answers each socket in order, so one task per socket matches replies to callers. If
//! hsmd goes away the node stops: nothing can be signed.

use std::os::fd::OwnedFd;

use ipc_messages::edges::{
    HsmBackup, HsmCtl, HsmGossip, HsmInvoice, HsmPay, HsmRpc, HsmTip, HsmWallet,
};
use ipc_messages::hello;
use ipc_messages::hsm::ctl::LocalPoint;
use ipc_messages::hsm::{Refused, Role, backup, ctl, gossip, invoice, pay, rpc, wallet};
use ipc_transport::Edge;
use ipc_transport::aio::AsyncConn;
use tokio::sync::{mpsc, oneshot};
use wire::{ChannelDbid, MilliSatoshi, NodeId, PaymentHash, Preimage};

/// How many requests of one role may wait.
const QUEUE: usize = 256;

/// Why hsmd did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HsmError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("hsmd is gone")]
    Gone,
    #[error("hsmd answered something else than it was asked")]
    Confused,
}

/// A socket of one role.
pub struct Asker<E: Edge>(mpsc::Sender<Asked<E>>);

struct Asked<E: Edge> {
    request: E::Down,
    fds: Vec<OwnedFd>,
    reply: oneshot::Sender<(E::Up, Vec<OwnedFd>)>,
}

impl<E: Edge> Clone for Asker<E> {
    fn clone(&self) -> Self {
        Asker(self.0.clone())
    }
}

impl<E> Asker<E>
where
    E: Edge + 'static,
    E::Down: Send + Sync + 'static,
    E::Up: Send + 'static,
{
    /// Takes the parent's end of an edge. `gone` is called once when the edge ends.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn start(
        socket: OwnedFd,
        gone: impl FnOnce(String) + Send + 'static,
    ) -> Result<Asker<E>, ipc_transport::Error> {
        let conn = AsyncConn::<E::Down, E::Up>::new(socket, hello::<E>())?;
        let (send, mut asked) = mpsc::channel::<Asked<E>>(QUEUE);
        let (pending_in, mut pending) =
            mpsc::channel::<oneshot::Sender<(E::Up, Vec<OwnedFd>)>>(QUEUE);
        let (to, mut from) = conn.split();
        tokio::spawn(async move {
            while let Some(Asked {
                request,
                fds,
                reply,
            }) = asked.recv().await
            {
                if pending_in.send(reply).await.is_err()
                    || to.send_with_fds(&request, fds).await.is_err()
                {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            let why = loop {
                match from.recv_with_fds().await {
                    Ok(reply) => match pending.recv().await {
                        // Who asked may have given up: its answer goes nowhere.
                        Some(waiting) => drop(waiting.send(reply)),
                        None => break "it spoke without being asked".to_owned(),
                    },
                    Err(error) => break error.to_string(),
                }
            };
            gone(why);
        });
        Ok(Asker(send))
    }

    /// # Errors
    /// `Gone` if hsmd is.
    pub async fn ask(&self, request: E::Down) -> Result<E::Up, HsmError> {
        Ok(self.ask_with_fds(request, Vec::new()).await?.0)
    }

    /// With descriptors that go along, and those that come back.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub async fn ask_with_fds(
        &self,
        request: E::Down,
        fds: Vec<OwnedFd>,
    ) -> Result<(E::Up, Vec<OwnedFd>), HsmError> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked {
            request,
            fds,
            reply,
        };
        self.0.send(asked).await.map_err(|_| HsmError::Gone)?;
        answer.await.map_err(|_| HsmError::Gone)
    }
}

/// All of lightningd's sockets to hsmd.
#[derive(Clone)]
pub struct Hsm {
    pub ctl: Asker<HsmCtl>,
    pub wallet: Asker<HsmWallet>,
    pub gossip: Asker<HsmGossip>,
    pub invoice: Asker<HsmInvoice>,
    pub pay: Asker<HsmPay>,
    pub rpc: Asker<HsmRpc>,
    pub tip: Asker<HsmTip>,
    pub backup: Asker<HsmBackup>,
}

/// Asks hsmd to take the other end of a new socketpair for `role`; ours is returned.
///
/// # Errors
/// Refused, gone, or no descriptors left.
pub async fn mint(ctl: &Asker<HsmCtl>, role: Role) -> Result<OwnedFd, HsmError> {
    let (ours, theirs) = pair()?;
    mint_end(ctl, role, theirs).await?;
    Ok(ours)
}

/// As [`mint`], for a process of this channel. With the socket comes the channel's newest commitment of ours.
///
/// # Errors
/// Those of [`mint`].
pub async fn mint_for(
    ctl: &Asker<HsmCtl>,
    role: Role,
    channel: ChannelDbid,
) -> Result<(OwnedFd, Option<LocalPoint>), HsmError> {
    let (ours, theirs) = pair()?;
    let newest = seat(ctl, role, Some(channel), theirs).await?;
    Ok((ours, newest))
}

/// As [`mint`], for a socketpair whose other end somebody has already.
///
/// # Errors
/// Refused or gone.
pub async fn mint_end(ctl: &Asker<HsmCtl>, role: Role, theirs: OwnedFd) -> Result<(), HsmError> {
    seat(ctl, role, None, theirs).await.map(drop)
}

fn pair() -> Result<(OwnedFd, OwnedFd), HsmError> {
    ipc_transport::pair().map_err(|_| HsmError::Gone)
}

async fn seat(
    ctl: &Asker<HsmCtl>,
    role: Role,
    channel: Option<ChannelDbid>,
    theirs: OwnedFd,
) -> Result<Option<LocalPoint>, HsmError> {
    let request = ctl::Request::Mint { role, channel };
    match ctl.ask_with_fds(request, vec![theirs]).await?.0 {
        ctl::Reply::Minted { newest } => Ok(newest),
        ctl::Reply::Refused(refused) => Err(refused.into()),
        ctl::Reply::Init(_)
        | ctl::Reply::Locked
        | ctl::Reply::Unconfirmed
        | ctl::Reply::Inspected(_)
        | ctl::Reply::NewChannel(_)
        | ctl::Reply::ForceClose { .. }
        | ctl::Reply::Forgotten => Err(HsmError::Confused),
    }
}

impl Hsm {
    /// Allocates a channel's number and keys.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn new_channel(&self, peer: NodeId) -> Result<ctl::NewChannel, HsmError> {
        match self.ctl.ask(ctl::Request::NewChannel { peer }).await? {
            ctl::Reply::NewChannel(new) => Ok(new),
            ctl::Reply::Refused(refused) => Err(refused.into()),
            ctl::Reply::Init(_)
            | ctl::Reply::Locked
            | ctl::Reply::Unconfirmed
            | ctl::Reply::Inspected(_)
            | ctl::Reply::Minted { .. }
            | ctl::Reply::ForceClose { .. }
            | ctl::Reply::Forgotten => Err(HsmError::Confused),
        }
    }

    /// As [`Hsm::new_channel`], for one that a static backup has.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn recover_channel(
        &self,
        channel: ChannelDbid,
        peer: NodeId,
        backup: tx::setup::BackedUp,
    ) -> Result<ctl::NewChannel, HsmError> {
        let lost = ctl::LostChannel {
            channel,
            peer,
            backup,
        };
        match self.ctl.ask(ctl::Request::RecoverChannel(lost)).await? {
            ctl::Reply::NewChannel(new) => Ok(new),
            ctl::Reply::Refused(refused) => Err(refused.into()),
            ctl::Reply::Init(_)
            | ctl::Reply::Locked
            | ctl::Reply::Unconfirmed
            | ctl::Reply::Minted { .. }
            | ctl::Reply::ForceClose { .. }
            | ctl::Reply::Inspected(_)
            | ctl::Reply::Forgotten => Err(HsmError::Confused),
        }
    }

    /// A backup that only this seed opens.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn seal_backup(&self, plain: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        let plain = backup::Plain(plain);
        match self.backup.ask(backup::Request::Seal(plain)).await? {
            backup::Reply::Sealed(sealed) => Ok(sealed.0),
            backup::Reply::Refused(refused) => Err(refused.into()),
            backup::Reply::Opened(_) => Err(HsmError::Confused),
        }
    }

    /// What was sealed, by us or by a Core Lightning of the same seed.
    ///
    /// # Errors
    /// Refused: it was not sealed under this seed, or was changed. Gone.
    pub async fn open_backup(&self, sealed: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        let sealed = backup::Sealed(sealed);
        match self.backup.ask(backup::Request::Open(sealed)).await? {
            backup::Reply::Opened(plain) => Ok(plain.0),
            backup::Reply::Refused(refused) => Err(refused.into()),
            backup::Reply::Sealed(_) => Err(HsmError::Confused),
        }
    }

    /// Our newest commitment with both signatures, in consensus encoding.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn force_close(&self, channel: ChannelDbid) -> Result<Vec<u8>, HsmError> {
        match self.ctl.ask(ctl::Request::ForceClose { channel }).await? {
            ctl::Reply::ForceClose { tx } => Ok(tx),
            ctl::Reply::Refused(refused) => Err(refused.into()),
            ctl::Reply::Init(_)
            | ctl::Reply::Locked
            | ctl::Reply::Unconfirmed
            | ctl::Reply::Inspected(_)
            | ctl::Reply::NewChannel(_)
            | ctl::Reply::Minted { .. }
            | ctl::Reply::Forgotten => Err(HsmError::Confused),
        }
    }

    /// Drops a channel that never got a funding output. A refusal changes nothing and is not an error.
    pub async fn forget(&self, channel: ChannelDbid) {
        if let Err(error) = self.ctl.ask(ctl::Request::Forget { channel }).await {
            tracing::debug!(%channel, "hsmd did not forget the channel: {error}");
        }
    }

    /// The next wallet address: its index, P2WPKH script and P2TR script.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn new_address(
        &self,
    ) -> Result<(u32, bitcoin::ScriptBuf, bitcoin::ScriptBuf), HsmError> {
        match self.wallet.ask(wallet::Request::GetAddress).await? {
            wallet::Reply::Address {
                index,
                p2wpkh,
                p2tr,
            } => Ok((index, p2wpkh, p2tr)),
            wallet::Reply::Refused(refused) => Err(refused.into()),
            wallet::Reply::Signed { .. } | wallet::Reply::Seen | wallet::Reply::ShutdownAllowed => {
                Err(HsmError::Confused)
            }
        }
    }

    /// Tells of coins of the wallet, so that hsmd knows what the node holds.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn seen(&self, coins: Vec<wallet::SeenCoin>) -> Result<(), HsmError> {
        match self.wallet.ask(wallet::Request::Seen { coins }).await? {
            wallet::Reply::Seen => Ok(()),
            wallet::Reply::Refused(refused) => Err(refused.into()),
            wallet::Reply::Signed { .. }
            | wallet::Reply::Address { .. }
            | wallet::Reply::ShutdownAllowed => Err(HsmError::Confused),
        }
    }

    /// Whether hsmd will sign a mutual close that pays to this script.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn check_shutdown(&self, script: bitcoin::ScriptBuf) -> Result<(), HsmError> {
        let request = wallet::Request::CheckShutdown { script };
        match self.wallet.ask(request).await? {
            wallet::Reply::ShutdownAllowed => Ok(()),
            wallet::Reply::Refused(refused) => Err(refused.into()),
            wallet::Reply::Signed { .. } | wallet::Reply::Address { .. } | wallet::Reply::Seen => {
                Err(HsmError::Confused)
            }
        }
    }

    /// One witness stack for each input.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn sign_spend(&self, spend: wallet::Spend) -> Result<Vec<Vec<Vec<u8>>>, HsmError> {
        match self.wallet.ask(wallet::Request::Sign { spend }).await? {
            wallet::Reply::Signed { witnesses } => Ok(witnesses),
            wallet::Reply::Refused(refused) => Err(refused.into()),
            wallet::Reply::Address { .. }
            | wallet::Reply::Seen
            | wallet::Reply::ShutdownAllowed => Err(HsmError::Confused),
        }
    }

    /// Timestamp and signature.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn sign_channel_update(
        &self,
        channel: ChannelDbid,
        update: gossip::ChannelUpdateFacts,
    ) -> Result<(u32, secp256k1::ecdsa::Signature), HsmError> {
        let request = gossip::Request::SignChannelUpdate { channel, update };
        match self.gossip.ask(request).await? {
            gossip::Reply::Signed {
                timestamp,
                signature,
            } => Ok((timestamp, signature)),
            gossip::Reply::Refused(refused) => Err(refused.into()),
        }
    }

    /// Allows HTLCs to this invoice's hash, up to amount and fee in all; again is as good as once.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn approve_bolt11(
        &self,
        invoice: String,
        amount: MilliSatoshi,
        max_fee: MilliSatoshi,
    ) -> Result<(), HsmError> {
        let request = pay::Request::ApproveBolt11 {
            invoice,
            amount,
            max_fee,
        };
        match self.pay.ask(request).await? {
            pay::Reply::Approved => Ok(()),
            pay::Reply::Refused(refused) => Err(refused.into()),
        }
    }

    /// The hash of a preimage that only hsmd has.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn new_preimage(&self) -> Result<PaymentHash, HsmError> {
        match self.invoice.ask(invoice::Request::NewPreimage).await? {
            invoice::Reply::NewPreimage { payment_hash } => Ok(payment_hash),
            invoice::Reply::Refused(refused) => Err(refused.into()),
            invoice::Reply::Signed { .. } | invoice::Reply::Released { .. } => {
                Err(HsmError::Confused)
            }
        }
    }

    /// Compact signature and recovery id.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn sign_bolt11(
        &self,
        fields: ::invoice::Bolt11Fields,
        holder: invoice::PreimageHolder,
    ) -> Result<([u8; 64], u8), HsmError> {
        let request = invoice::Request::SignBolt11 {
            fields: Box::new(fields),
            holder,
        };
        match self.invoice.ask(request).await? {
            invoice::Reply::Signed {
                signature,
                recovery_id,
            } => Ok((signature, recovery_id)),
            invoice::Reply::Refused(refused) => Err(refused.into()),
            invoice::Reply::NewPreimage { .. } | invoice::Reply::Released { .. } => {
                Err(HsmError::Confused)
            }
        }
    }

    /// The preimage of an invoice whose HTLCs are locked in.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn release(&self, payment_hash: PaymentHash) -> Result<Preimage, HsmError> {
        let request = invoice::Request::Release { payment_hash };
        match self.invoice.ask(request).await? {
            invoice::Reply::Released { preimage } if preimage.payment_hash() == payment_hash => {
                Ok(preimage)
            }
            invoice::Reply::Refused(refused) => Err(refused.into()),
            invoice::Reply::NewPreimage { .. }
            | invoice::Reply::Signed { .. }
            | invoice::Reply::Released { .. } => Err(HsmError::Confused),
        }
    }

    /// The secret that a user calls this.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn make_secret(&self, name: Vec<u8>) -> Result<[u8; 32], HsmError> {
        let name = rpc::SecretName(name);
        match self.rpc.ask(rpc::Request::MakeSecret { name }).await? {
            rpc::Reply::Secret { secret } => Ok(secret),
            rpc::Reply::Refused(refused) => Err(refused.into()),
            rpc::Reply::Signed { .. } => Err(HsmError::Confused),
        }
    }

    /// Compact signature and recovery id.
    ///
    /// # Errors
    /// Refused or gone.
    pub async fn sign_message(&self, message: String) -> Result<([u8; 64], u8), HsmError> {
        match self.rpc.ask(rpc::Request::SignMessage { message }).await? {
            rpc::Reply::Signed {
                signature,
                recovery_id,
            } => Ok((signature, recovery_id)),
            rpc::Reply::Refused(refused) => Err(refused.into()),
            rpc::Reply::Secret { .. } => Err(HsmError::Confused),
        }
    }
}
