// A FIX 4.4 acceptor: answers every NewOrderSingle with an ExecutionReport (filled), until SIGTERM or SIGINT.
//   quickfix_acceptor ADDRESS PORT STORE_FOLDER
#include <signal.h>

#include <atomic>
#include <cstdio>

#include "quickfix_session.hpp"

namespace {

class Exchange : public QuietApplication {
public:
    void onMessage(const FIX44::NewOrderSingle& order, const FIX::SessionID& session) override {
        FIX::ClOrdID id;
        FIX::Symbol symbol;
        FIX::Side side;
        FIX::OrderQty quantity;
        FIX::Price price;
        order.get(id);
        order.get(symbol);
        order.get(side);
        order.get(quantity);
        order.get(price);
        FIX44::ExecutionReport report(FIX::OrderID(id.getValue()), FIX::ExecID("E" + id.getValue()),
                                      FIX::ExecType(FIX::ExecType_TRADE), FIX::OrdStatus(FIX::OrdStatus_FILLED), side,
                                      FIX::LeavesQty(0), FIX::CumQty(quantity), FIX::AvgPx(price));
        report.set(id);
        report.set(symbol);
        report.set(quantity);
        FIX::Session::sendToTarget(report, session);
        ++orders;
    }

    std::atomic<int> orders{0};
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: quickfix_acceptor ADDRESS PORT STORE_FOLDER\n");
        return 2;
    }
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    sigprocmask(SIG_BLOCK, &end, nullptr);  // inherited by QuickFIX's threads

    try {
        FIX::SessionSettings settings = session_settings("EXCHANGE", "FIRM");
        FIX::Dictionary defaults = settings.get();
        defaults.setString("ConnectionType", "acceptor");
        defaults.setString("SocketAcceptAddress", argv[1]);
        defaults.setString("SocketAcceptPort", argv[2]);
        settings.set(defaults);
        FIX::FileStoreFactory store(argv[3]);
        Exchange exchange;
        FIX::SocketAcceptor acceptor(exchange, store, settings);
        acceptor.start();
        std::printf("acceptor listens\n");
        std::fflush(stdout);
        int signal_number = 0;
        sigwait(&end, &signal_number);
        acceptor.stop();
        std::printf("%d orders, %d logons, %d logouts\n", exchange.orders.load(), exchange.logons.load(),
                    exchange.logouts.load());
    } catch (const std::exception& error) {
        std::fprintf(stderr, "quickfix_acceptor: %s\n", error.what());
        return 1;
    }
    return 0;
}
