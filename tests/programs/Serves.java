// A web server that asks itself; test_java runs it on the host and under ukl.
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.DatagramChannel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;

class Serves {
	static HttpRequest to(String url) {
		return HttpRequest.newBuilder(URI.create(url)).build();
	}

	public static void main(String[] arguments) throws Exception {
		byte[] big = new byte[3000000];
		new Random(1).nextBytes(big);
		HttpServer server = HttpServer.create(new InetSocketAddress(8000), 50);
		server.setExecutor(Executors.newFixedThreadPool(8));
		server.createContext("/", exchange -> {
			String path = exchange.getRequestURI().getPath();
			byte[] text = ("hello " + path).getBytes();
			byte[] body = path.equals("/big") ? big : text;
			exchange.sendResponseHeaders(200, body.length);
			exchange.getResponseBody().write(body);
			exchange.close();
		});
		server.start();

		HttpClient client = HttpClient.newBuilder()
			.version(HttpClient.Version.HTTP_1_1).build();
		List<CompletableFuture<String>> asked = new ArrayList<>();
		for (int i = 0; i < 200; i++) {
			String host = i % 2 == 0 ? "127.0.0.1" : "[::1]";
			asked.add(client.sendAsync(to("http://" + host + ":8000/" + i),
				BodyHandlers.ofString()).thenApply(one -> one.body()));
		}
		int right = 0;
		for (int i = 0; i < 200; i++)
			right += asked.get(i).get().equals("hello /" + i) ? 1 : 0;
		System.out.println(right + " answers");
		System.out.println(Arrays.equals(big, client.send(
			to("http://localhost:8000/big"),
			BodyHandlers.ofByteArray()).body()));

		DatagramChannel channel = DatagramChannel.open()
			.bind(new InetSocketAddress("127.0.0.1", 0));
		channel.send(ByteBuffer.wrap("datagram".getBytes()),
			channel.getLocalAddress());
		ByteBuffer heard = ByteBuffer.allocate(100);
		channel.receive(heard);
		System.out.println(heard.position() + " bytes");
		System.out.println(NetworkInterface.getByName("lo").isUp());
		try {
			new Socket("127.0.0.1", 9).close();
		} catch (ConnectException error) {
			System.out.println(error.getMessage());
		}
		Process child = new ProcessBuilder("curl", "-s",
			"http://127.0.0.1:8000/child").start();
		System.out.println(new String(child.getInputStream().readAllBytes())
			+ ", " + child.waitFor());
		server.stop(0);
		System.out.println("all done");
		System.exit(4);
	}
}
