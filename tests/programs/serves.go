// serves.go: a web server, and a client that asks it, in one static program.
//
//	serves serve ADDRESS   until SIGTERM; then it ends in order, with 6
//	serves ask URL         300 requests, and 3 MB there and back; 1 if one fails
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

func serve(address string) {
	var asked int64
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		atomic.AddInt64(&asked, 1)
		fmt.Fprintf(w, "hello %s\n", r.URL.Path)
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	server := &http.Server{Addr: address}
	ended := make(chan bool)
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		server.Shutdown(context.Background())
		ended <- true
	}()
	fmt.Println(server.ListenAndServe())
	<-ended
	fmt.Println("asked", asked, "times")
	os.Exit(6)
}

func body(answer *http.Response, err error) string {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return string(text)
}

func ask(url string) {
	var group sync.WaitGroup
	var right int64
	for one := 0; one < 10; one++ {
		group.Add(1)
		go func(one int) {
			defer group.Done()
			for number := 0; number < 30; number++ {
				path := fmt.Sprintf("/%d/%d", one, number)
				if body(http.Get(url+path)) == "hello "+path+"\n" {
					atomic.AddInt64(&right, 1)
				}
			}
		}(one)
	}
	group.Wait()
	data := make([]byte, 3000000)
	rand.Read(data)
	back := body(http.Post(url+"/echo", "text/plain", bytes.NewReader(data)))
	if back != string(data) {
		os.Exit(1)
	}
	fmt.Println(right, "answers,", len(back), "bytes there and back")
}

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	} else {
		ask(os.Args[2])
	}
}
