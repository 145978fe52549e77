// java HttpEcho.java server ADDRESS PORT | client ADDRESS PORT SECONDS: com.sun.net.httpserver and java.net.http, bodies that must come back the same.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Arrays;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;

public class HttpEcho {
    static void serve(String address, int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(address, port), 100);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println("listens");
    }

    static void ask(HttpClient client, URI uri, AtomicLong done, AtomicLong bytes, long end) {
        try {
            while (System.currentTimeMillis() < end) {
                byte[] body = new byte[1 + ThreadLocalRandom.current().nextInt(100_000)];
                ThreadLocalRandom.current().nextBytes(body);
                HttpRequest request = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
                if (!Arrays.equals(client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body(), body)) {
                    throw new IllegalStateException("other bytes came back");
                }
                done.incrementAndGet();
                bytes.addAndGet(body.length);
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("server")) {
            serve(arguments[1], Integer.parseInt(arguments[2]));
            return;
        }
        int seconds = Integer.parseInt(arguments[3]);
        URI uri = URI.create("http://" + arguments[1] + ":" + arguments[2] + "/");
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        AtomicLong done = new AtomicLong(), bytes = new AtomicLong();
        long end = System.currentTimeMillis() + seconds * 1000L;
        Thread[] threads = new Thread[16];
        for (int i = 0; i < threads.length; ++i) {
            threads[i] = new Thread(() -> ask(client, uri, done, bytes, end));
            threads[i].start();
        }
        for (Thread each : threads) {
            each.join();
        }
        System.out.println(done + " echoes, " + bytes.get() / 1_000_000 + " MB each way, " + done.get() / seconds + " per second");
        System.exit(0);
    }
}
