// Two workers behind one port, and what they end by; test_node runs it.
"use strict";
const cluster = require("cluster");
const http = require("http");

if (cluster.isPrimary) {
	let ready = 0;
	cluster.on("listening", async () => {
		if (++ready < 2)
			return;
		const seen = new Set();
		// Who accepts a connection is chance when they share the socket.
		while (seen.size < 2) {
			const asked = [...Array(8)].map(() =>
				fetch("http://127.0.0.1:8000/",
					{ headers: { connection: "close" } })
					.then((answer) => answer.text()));
			(await Promise.all(asked)).forEach((pid) => seen.add(pid));
		}
		console.log("two workers");
		Object.values(cluster.workers).forEach((one) => one.kill());
	});
	cluster.on("exit", (worker, code, signal) => console.log(signal));
	cluster.fork();
	cluster.fork();
} else {
	http.createServer((request, response) =>
		response.end(String(process.pid))).listen(8000);
}
