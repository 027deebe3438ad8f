// A web server that asks itself; test_node runs it on the host and under ukl.
"use strict";
const { execFile } = require("child_process");
const crypto = require("crypto");
const dgram = require("dgram");
const http = require("http");

const big = crypto.randomBytes(3000000);
const server = http.createServer((request, response) => {
	if (request.method === "POST") {
		let length = 0;
		request.on("data", (part) => { length += part.length; });
		request.on("end", () => response.end(String(length)));
	} else {
		response.end(request.url === "/big" ? big : `hello ${request.url}`);
	}
});

function udp() {
	return new Promise((resolve) => {
		const socket = dgram.createSocket("udp4");
		socket.on("message", (text) => {
			socket.close();
			resolve(text.toString());
		});
		socket.bind(8053, "127.0.0.1", () =>
			socket.send("datagram", 8053, "127.0.0.1"));
	});
}

async function main() {
	const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
	const get = (host, path) => new Promise((resolve, reject) => {
		http.get({ host, port: 8000, path, agent }, (response) => {
			const parts = [];
			response.on("data", (part) => parts.push(part));
			response.on("end", () => resolve(Buffer.concat(parts)));
		}).on("error", reject);
	});
	const asked = [...Array(300).keys()].map((number) =>
		get(number % 2 ? "127.0.0.1" : "::1", `/${number}`));
	const right = (await Promise.all(asked)).filter((body, number) =>
		body.toString() === `hello /${number}`);
	console.log(right.length, "answers");
	console.log(big.equals(await get("localhost", "/big")));
	const posted = await fetch("http://localhost:8000/", {
		method: "POST", body: "a".repeat(500000),
	});
	console.log(await posted.text());
	console.log(await udp());
	const text = await new Promise((resolve) =>
		execFile("curl", ["-s", "http://127.0.0.1:8000/child"],
			(error, out) => resolve(out)));
	console.log(text);
	await get("127.0.0.1", "/").then(() => http.get("http://127.0.0.1:9/")
		.on("error", (error) => console.log(error.code)));
	agent.destroy();
	server.close();
	server.closeAllConnections();
	process.exitCode = 3;
	process.on("exit", () => console.log("all done"));
}

server.listen(8000, "::", main);
