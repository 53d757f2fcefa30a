//! What the mails say.

use super::Kind;

impl Kind {
    /// The frontend's page. What follows the `#` is the page's alone: no server and no log is sent it.
    pub(super) fn link(self, frontend_url: &str, token: &str) -> String {
        match self {
            Self::EmailVerification | Self::EmailChange => format!("{frontend_url}/verify-email#token={token}"),
            Self::PasswordReset => format!("{frontend_url}/reset-password#token={token}"),
            _ => frontend_url.to_owned(),
        }
    }

    /// Subject and text. No name stands in it: a stranger who registers somebody's address must not have us carry his words.
    pub(super) fn words(self, link: &str) -> (&'static str, String) {
        let news = |subject, what| notice(subject, what, link);
        match self {
            Self::EmailVerification => (
                "Confirm your e-mail address",
                format!(
                    "Hello,\n\nplease confirm that this e-mail address is yours:\n\n{link}\n\n\
                     The link works for 24 hours.\n\n\
                     If you did not open an account with us, ignore this mail.\n"
                ),
            ),
            Self::PasswordReset => (
                "Set a new password",
                format!(
                    "Hello,\n\nwith this link you set a new password:\n\n{link}\n\n\
                     It works once, for 30 minutes after it was asked for. It ends all your sessions.\n\n\
                     If you did not ask for it, ignore this mail: your password stays as it is.\n"
                ),
            ),
            Self::EmailChange => (
                "Confirm your new e-mail address",
                format!(
                    "Hello,\n\nplease confirm that your account is to have this e-mail address from now on:\n\n{link}\n\n\
                     The link works once, for 24 hours. It ends your sessions on other devices.\n\n\
                     If you did not ask for it, ignore this mail: nothing is changed.\n"
                ),
            ),
            Self::EmailChanged => (
                "Your e-mail address was changed",
                format!(
                    "Hello,\n\nyour account has another e-mail address now, and nothing more is sent to this one.\n\n\
                     If you did not change it, somebody else has your password: tell us at once.\n\n{link}\n"
                ),
            ),
            Self::EmailTaken => (
                "You have an account already",
                format!(
                    "Hello,\n\nsomebody, perhaps you, wanted to use this e-mail address for an account with us. It has one \
                     already, and nothing about it was changed.\n\nSign in here, or ask for a new password there if you forgot \
                     yours:\n\n{link}\n\nIf it was not you, ignore this mail.\n"
                ),
            ),
            Self::WebhookEndpointDisabled => (
                "A webhook endpoint was disabled",
                format!(
                    "Hello,\n\nan endpoint for webhooks that you made does not answer, and was disabled. What waits for it is kept for \
                     30 days and can be sent again once it is enabled:\n\n{link}\n"
                ),
            ),
            Self::BankAccountAdded => news("A bank account was added", "a bank account was added to your account"),
            Self::NewDevice => news(
                "A sign-in from a new device",
                "somebody signed in to your account from a device that was not known",
            ),
            Self::PasswordChanged => news("Your password was changed", "the password of your account was changed"),
            Self::SecondFactorChanged => {
                news("Your second factor was changed", "the second factor of your account was enrolled or taken away")
            }
            Self::SessionsEnded => news(
                "You were signed out everywhere",
                "our support has ended all sessions of your account; sign in again",
            ),
            Self::NameChanged => news("Your name was changed", "the name of your account was changed"),
            Self::Withdrawal => news("A withdrawal was asked for", "a withdrawal from your account was asked for"),
            Self::Deposit => news("A deposit has come", "a deposit was credited to your account"),
        }
    }
}

/// Word of what was done with an account; that is all a mailbox need know.
fn notice(subject: &'static str, what: &str, link: &str) -> (&'static str, String) {
    let text = format!(
        "Hello,\n\n{what}. You see all of it when you are signed in:\n\n{link}\n\n\
         If it was not you, change your password and tell us at once.\n"
    );
    (subject, text)
}
