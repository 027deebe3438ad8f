// Two web servers for haproxy: each says its port and who asked; /big is a file.
"use strict";
const fs = require("fs");
const http = require("http");

for (const port of process.argv.slice(2)) {
	http.createServer((request, response) => {
		if (request.url === "/big")
			fs.createReadStream("big").pipe(response);
		else
			response.end(`${port} ${request.headers["x-forwarded-for"]}\n`);
	}).listen(Number(port), "127.0.0.1");
}
