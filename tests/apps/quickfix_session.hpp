// QuickFIX's headers have dynamic exception specifications: these programs are C++14.
// What acceptor and initiator have in common: session settings, and an application that counts logons and logouts.
#pragma once
#include <quickfix/FileStore.h>
#include <quickfix/MessageCracker.h>
#include <quickfix/Session.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketAcceptor.h>
#include <quickfix/SocketInitiator.h>
#include <quickfix/fix44/ExecutionReport.h>
#include <quickfix/fix44/NewOrderSingle.h>

#include <atomic>
#include <string>

class QuietApplication : public FIX::Application, public FIX::MessageCracker {
public:
    void onCreate(const FIX::SessionID&) override {}
    void onLogon(const FIX::SessionID&) override { ++logons; }
    void onLogout(const FIX::SessionID&) override { ++logouts; }
    void toAdmin(FIX::Message&, const FIX::SessionID&) override {}
    void toApp(FIX::Message&, const FIX::SessionID&) throw(FIX::DoNotSend) override {}
    void fromAdmin(const FIX::Message&, const FIX::SessionID&) throw(FIX::FieldNotFound, FIX::IncorrectDataFormat,
                                                                     FIX::IncorrectTagValue, FIX::RejectLogon) override {}
    void fromApp(const FIX::Message& message, const FIX::SessionID& session) throw(FIX::FieldNotFound, FIX::IncorrectDataFormat,
                                                                                   FIX::IncorrectTagValue,
                                                                                   FIX::UnsupportedMessageType) override {
        crack(message, session);
    }

    std::atomic<int> logons{0};
    std::atomic<int> logouts{0};
};

// Debian's package has no data dictionaries (FIX44.xml), so the session goes without.
inline FIX::SessionSettings session_settings(const std::string& sender, const std::string& target) {
    FIX::SessionSettings settings;
    FIX::Dictionary defaults;
    defaults.setString("StartTime", "00:00:00");
    defaults.setString("EndTime", "00:00:00");
    defaults.setString("UseDataDictionary", "N");
    defaults.setString("HeartBtInt", "1");
    defaults.setString("ReconnectInterval", "1");
    defaults.setString("ResetOnLogon", "Y");
    defaults.setString("SocketNodelay", "Y");
    settings.set(defaults);
    FIX::Dictionary session;
    session.setString("ConnectionType", sender == "EXCHANGE" ? "acceptor" : "initiator");
    settings.set(FIX::SessionID("FIX.4.4", sender, target), session);
    return settings;
}
